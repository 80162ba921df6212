//! The targets.

pub mod batches;
pub mod config;
pub mod keys;
pub mod list;
pub mod metadata;
pub mod objects;
pub mod planted;
pub mod proxy;
pub mod security;
pub mod wire;

/// A decoder with what is promised of it.
pub struct Target {
    /// Its name, for commands and directories.
    pub name: &'static str,
    /// What it decodes, in a few words.
    pub about: &'static str,
    /// Decodes and checks; panics where a promise is broken.
    pub run: fn(&[u8]),
    /// Inputs to begin with.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Parts that are put into inputs.
    pub words: &'static [&'static [u8]],
}

/// All targets, in order of name.
pub static TARGETS: &[Target] = &[
    objects::BACKUP,
    batches::BATCH,
    security::BEARER,
    config::CONFIG,
    wire::CONSUMER,
    batches::DECOMPRESS,
    metadata::ETCD_KEYS,
    metadata::ETCD_VALUES,
    metadata::GROUPS,
    wire::HEADERS,
    objects::INDEX,
    security::KEYS,
    objects::MANIFEST,
    keys::OBJECT_KEYS,
    objects::PRODUCERS,
    proxy::PROXY,
    batches::RECORDS,
    wire::REQUESTS,
    wire::RESPONSES,
    list::LIST,
    security::SASL,
    objects::SEGMENT,
    security::TOKEN,
    objects::WAL,
    objects::WAL_BUNDLE,
];

/// The target of this name.
pub fn find(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
