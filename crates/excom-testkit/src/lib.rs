//! Long proofs and bad surroundings.
