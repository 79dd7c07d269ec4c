//! The suite that every metadata database passes.
