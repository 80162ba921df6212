//! The console's API and page: what is answered to whom, and what is refused. The page itself is driven by
//! `scripts/console-test`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "console/access.rs"]
mod access;
mod common;
#[path = "console/figures.rs"]
mod figures;
#[path = "console/http.rs"]
mod http;
#[path = "console/messages.rs"]
mod messages;
#[path = "console/page.rs"]
mod page;
