//! Hostile clients against the real broker, over the wire.
//!
//! The defects of other Kafka listeners that are known by number, and where each is held against ours:
//!
//! | defect | here |
//! |---|---|
//! | memory for whoever is not authenticated (CVE-2022-34917) | [`crowds`]`::ten_thousand_unfinished_frames`, [`defects`]`::promises` |
//! | array counts that mean more memory than bytes (CVE-2026-111108) | [`defects`]`::array_counts`, `::names_again_and_again` |
//! | tagged fields by the million (CVE-2026-111115) | [`defects`]`::twenty_million_tagged_fields` |
//! | decompression bombs (CVE-2026-111073) | [`defects`]`::decompression_bombs` |
//! | a crash by an empty array (CVE-2026-83525) | [`apis`]`::empty_arrays_in_every_api_and_version` |
//! | a client that poses as a replica (CVE-2018-1288) | [`defects`]`::a_client_cannot_pose_as_a_replica` |
//! | a length of four bytes that is a buffer of gigabytes (CVE-2026-10142) | [`defects`]`::lengths` |
//! | a pooled buffer that is used again too early (CVE-2026-35554) | [`defects`]`::buffers_are_not_used_again_too_early` |
//!
//! Five belong to authentication and have their tests there (`tests/authentication.rs`, `broker/security`): the nonce of
//! SCRAM (CVE-2024-56128) and the authorization id of PLAIN and SCRAM (CVE-2017-12610) in
//! `nobody_gets_in_as_another_or_with_a_proof_of_another_exchange`; the time of a comparison of secrets
//! (CVE-2021-38153), which `security::secret` makes constant; iteration counts of SCRAM (CVE-2026-10143) in
//! `scram::tests::iterations_and_salts_are_bounded`; tokens without a signature or a key (CVE-2026-33557,
//! CVE-2026-110985).
//!
//! [`proxies`] holds whom a PROXY header is believed.
//!
//! [`crowds`] also measures that others are served as before, [`limits`] holds the bounds of connections and of their
//! pace. docs/fuzzing.md tells of both.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

#[path = "hostile/apis.rs"]
mod apis;
#[path = "hostile/crowds.rs"]
mod crowds;
#[path = "hostile/defects.rs"]
mod defects;
#[path = "hostile/limits.rs"]
mod limits;
#[path = "hostile/proxies.rs"]
mod proxies;
#[path = "hostile/victim.rs"]
mod victim;
