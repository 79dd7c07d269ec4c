//! Tests of the Python types.
