//! Deterministic simulator that runs KafScale's sans-IO cores.
