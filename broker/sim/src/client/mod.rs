//! Simulated clients: they speak the wire protocol to the real request handlers, over the model network.

pub(crate) mod admin;
pub(crate) mod careless;
pub(crate) mod connection;
pub(crate) mod consumer;
pub(crate) mod fleeting;
pub(crate) mod hostile;
pub(crate) mod member;
pub(crate) mod producer;
mod replay;
pub(crate) mod scene;
