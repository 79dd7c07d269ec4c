//! The attribute macros of Excom: #[task], #[dag] and #[derive(Outputs)].
