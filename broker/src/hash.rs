//! The hasher of the maps that are looked up on every request: fast, and seeded so that clients cannot choose
//! names that collide.

#[cfg(not(feature = "simulation"))]
pub(crate) use foldhash::fast::RandomState;
#[cfg(feature = "simulation")]
pub(crate) use seeded::RandomState;

#[cfg(feature = "simulation")]
mod seeded {
    use std::hash::BuildHasher;

    use foldhash::fast::{FixedState, FoldHasher};

    /// As foldhash's own, but its seed comes from the random numbers of the thread, which a simulation
    /// decides: foldhash takes addresses and the time for it.
    #[derive(Debug, Clone)]
    pub(crate) struct RandomState(FixedState);

    impl Default for RandomState {
        fn default() -> Self {
            Self(FixedState::with_seed(rand::random()))
        }
    }

    impl BuildHasher for RandomState {
        type Hasher = FoldHasher<'static>;

        fn build_hasher(&self) -> Self::Hasher {
            self.0.build_hasher()
        }
    }
}
