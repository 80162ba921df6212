//! Kafka's enumerations with their codes. What matches anything is not here: it belongs to filters.

/// Writes an enumeration whose values have codes.
macro_rules! coded {
    ($(#[$about:meta])* $name:ident { $($(#[$what:meta])* $value:ident = $code:literal,)* }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$what])* $value,)*
        }

        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$value),*];

            /// Kafka's code, on the wire and in the store.
            pub fn code(self) -> i8 {
                match self {
                    $(Self::$value => $code,)*
                }
            }

            /// The value with this code.
            pub fn of_code(code: i8) -> Option<Self> {
                match code {
                    $($code => Some(Self::$value),)*
                    _ => None,
                }
            }
        }
    };
}

coded! {
    /// `org.apache.kafka.common.resource.ResourceType`.
    ResourceType {
        /// A topic.
        Topic = 2,
        /// A consumer group.
        Group = 3,
        /// The cluster itself.
        Cluster = 4,
        /// A transactional id.
        TransactionalId = 5,
        /// A delegation token.
        DelegationToken = 6,
        /// A user, for tokens.
        User = 7,
    }
}

coded! {
    /// `org.apache.kafka.common.resource.PatternType`, of those that a rule can have.
    PatternType {
        /// One name, or `*` for any.
        Literal = 3,
        /// All names that begin so.
        Prefixed = 4,
    }
}

coded! {
    /// `org.apache.kafka.common.acl.AclOperation`.
    Operation {
        /// Everything.
        All = 2,
        /// Read records, commit offsets, join groups.
        Read = 3,
        /// Write records.
        Write = 4,
        /// Create topics.
        Create = 5,
        /// Delete topics, groups, records.
        Delete = 6,
        /// Alter partitions, quotas, ACLs.
        Alter = 7,
        /// See that it exists, and what it is like.
        Describe = 8,
        /// What brokers ask of brokers.
        ClusterAction = 9,
        /// See settings.
        DescribeConfigs = 10,
        /// Change settings.
        AlterConfigs = 11,
        /// Write with a producer id.
        IdempotentWrite = 12,
        /// Make tokens for a user.
        CreateTokens = 13,
        /// See tokens of a user.
        DescribeTokens = 14,
        /// Take part in two-phase commits.
        TwoPhaseCommit = 15,
    }
}

coded! {
    /// `org.apache.kafka.common.acl.AclPermissionType`.
    Permission {
        /// Denied, whatever else is allowed.
        Deny = 2,
        /// Allowed.
        Allow = 3,
    }
}

impl Operation {
    /// Whether leave for `self` is leave for `other` too. Whoever may read, write, delete or alter may see, and whoever
    /// may change settings may see them; to be denied one of them denies nothing else
    /// (`StandardAuthorizerData.IMPLIES_DESCRIBE`).
    pub fn implies(self, other: Self) -> bool {
        match other {
            _ if self == Self::All || self == other => true,
            Self::Describe => {
                matches!(self, Self::Read | Self::Write | Self::Delete | Self::Alter)
            }
            Self::DescribeConfigs => self == Self::AlterConfigs,
            _ => false,
        }
    }
}
