//! Who is logged in to the console: a bounded table in memory, by the hash of what a browser or a script shows.
//!
//! *Control thread*, behind a lock, since connections of the admin listener are tasks of their own. Nothing of it is
//! stored: a broker that starts anew knows nobody. Invariants: neither token nor password is kept; an entry ends at its
//! time, and whoever is let in is looked at anew with every request ([`super::access`]).

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::access::Login;

/// Logins that are remembered; at the bound the oldest one ends.
pub(super) const SESSIONS_MAX: usize = 1_024;
/// How long a login of a browser holds.
pub(super) const BROWSER_LIFE: Duration = Duration::from_secs(12 * 3600);
/// How long a password that a script sends with every request is not hashed anew.
pub(super) const SCRIPT_LIFE: Duration = Duration::from_secs(60);
/// Bytes of a token.
const TOKEN_BYTES: usize = 32;

/// The hash of what is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Shown([u8; 32]);

impl Shown {
    /// The hash of these bytes.
    pub(super) fn of(bytes: &[u8]) -> Self {
        let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
        let mut hash = [0; 32];
        hash.copy_from_slice(digest.as_ref());
        Self(hash)
    }
}

#[derive(Debug)]
struct Entry {
    login: Login,
    until: Instant,
}

/// Who is logged in.
#[derive(Debug, Default)]
pub(super) struct Sessions(Mutex<HashMap<Shown, Entry>>);

impl Sessions {
    fn lock(&self) -> MutexGuard<'_, HashMap<Shown, Entry>> {
        // Nothing in here is left half done by a panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new token for a login.
    pub(super) fn begin(&self, login: Login, now: Instant) -> String {
        let random: [u8; TOKEN_BYTES] = rand::random();
        let token: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        self.remember(Shown::of(token.as_bytes()), login, now + BROWSER_LIFE);
        token
    }

    /// Remembers a login by what was shown for it.
    pub(super) fn remember(&self, shown: Shown, login: Login, until: Instant) {
        let mut entries = self.lock();
        if entries.len() >= SESSIONS_MAX {
            let oldest = entries.iter().min_by_key(|(_, entry)| entry.until);
            let oldest = oldest.map(|(shown, _)| *shown);
            oldest.map(|shown| entries.remove(&shown));
        }
        entries.insert(shown, Entry { login, until });
    }

    /// The login of whoever shows that.
    pub(super) fn find(&self, shown: Shown, now: Instant) -> Option<Login> {
        let mut entries = self.lock();
        let entry = entries.get(&shown)?;
        if entry.until <= now {
            entries.remove(&shown);
            return None;
        }
        Some(entry.login.clone())
    }

    /// Ends a login.
    pub(super) fn end(&self, shown: Shown) {
        self.lock().remove(&shown);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_holds_until_its_time_or_its_end() {
        let sessions = Sessions::default();
        let now = Instant::now();
        let token = sessions.begin(Login::Console("o".into()), now);
        assert_eq!(token.len(), 2 * TOKEN_BYTES);
        let shown = Shown::of(token.as_bytes());
        assert!(sessions.find(shown, now).is_some());
        assert!(sessions.find(Shown::of(b"another"), now).is_none());
        assert!(
            sessions
                .find(shown, now + BROWSER_LIFE - Duration::from_secs(1))
                .is_some()
        );
        assert!(sessions.find(shown, now + BROWSER_LIFE).is_none());
        assert!(sessions.find(shown, now).is_none(), "it is forgotten");
        let token = sessions.begin(Login::Console("o".into()), now);
        sessions.end(Shown::of(token.as_bytes()));
        assert!(sessions.find(Shown::of(token.as_bytes()), now).is_none());
    }

    #[test]
    fn the_oldest_login_ends_where_there_are_too_many() {
        let sessions = Sessions::default();
        let start = Instant::now();
        let at = |number: usize| start + Duration::from_millis(number as u64);
        let tokens: Vec<String> = (0..SESSIONS_MAX + 3)
            .map(|number| sessions.begin(Login::Console("o".into()), at(number)))
            .collect();
        let lives = |token: &String| sessions.find(Shown::of(token.as_bytes()), start).is_some();
        assert_eq!(
            tokens.iter().map(lives).filter(|lives| *lives).count(),
            SESSIONS_MAX
        );
        assert!(!lives(&tokens[2]) && lives(&tokens[3]));
    }
}
