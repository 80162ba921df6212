//! What a scenario is played on.

/// The machines that stand there while a scenario is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ground {
    /// Three brokers, one etcd, an S3 server.
    Cluster,
    /// The same with an etcd of three members.
    Quorum,
    /// One broker on its embedded default: a directory on a small disk.
    Embedded,
}

impl Ground {
    /// All, in the order in which they are set up.
    pub(super) const ALL: [Self; 3] = [Self::Cluster, Self::Quorum, Self::Embedded];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cluster => "cluster",
            Self::Quorum => "quorum",
            Self::Embedded => "embedded",
        }
    }

    pub(super) fn brokers(self) -> i32 {
        match self {
            Self::Cluster | Self::Quorum => 3,
            Self::Embedded => 1,
        }
    }

    pub(super) fn etcd_members(self) -> u16 {
        match self {
            Self::Cluster => 1,
            Self::Quorum => 3,
            Self::Embedded => 0,
        }
    }
}
