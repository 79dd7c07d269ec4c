//! Value stores for Excom, and the format of the bytes that they keep.
