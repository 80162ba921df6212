//! What must hold on the wire, seen through the AWS SDK and through raw TCP.

#![allow(clippy::unwrap_used, reason = "tests")]

mod binary;
mod conditions;
mod faults;
mod multipart;
mod operations;
mod support;
