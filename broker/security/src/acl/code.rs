//! Kafka's enumerations with their codes. What matches anything is not here: it belongs to filters.

/// Writes an enumeration whose values have codes.
macro_rules! coded {
    ($(#[$about:meta])* $name:ident {
        $($(#[$what:meta])* $value:ident = $code:literal $word:literal,)*
    }) => {
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

            /// What people call it.
            pub fn word(self) -> &'static str {
                match self {
                    $(Self::$value => $word,)*
                }
            }

            /// The value that people call so.
            pub fn of_word(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|it| it.word() == word)
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
        Topic = 2 "topic",
        /// A consumer group.
        Group = 3 "group",
        /// The cluster itself.
        Cluster = 4 "cluster",
        /// A transactional id.
        TransactionalId = 5 "transactional-id",
        /// A delegation token.
        DelegationToken = 6 "delegation-token",
        /// A user, for tokens.
        User = 7 "user",
    }
}

coded! {
    /// `org.apache.kafka.common.resource.PatternType`, of those that a rule can have.
    PatternType {
        /// One name, or `*` for any.
        Literal = 3 "literal",
        /// All names that begin so.
        Prefixed = 4 "prefixed",
    }
}

coded! {
    /// `org.apache.kafka.common.acl.AclOperation`.
    Operation {
        /// Everything.
        All = 2 "all",
        /// Read records, commit offsets, join groups.
        Read = 3 "read",
        /// Write records.
        Write = 4 "write",
        /// Create topics.
        Create = 5 "create",
        /// Delete topics, groups, records.
        Delete = 6 "delete",
        /// Alter partitions, quotas, ACLs.
        Alter = 7 "alter",
        /// See that it exists, and what it is like.
        Describe = 8 "describe",
        /// What brokers ask of brokers.
        ClusterAction = 9 "cluster-action",
        /// See settings.
        DescribeConfigs = 10 "describe-configs",
        /// Change settings.
        AlterConfigs = 11 "alter-configs",
        /// Write with a producer id.
        IdempotentWrite = 12 "idempotent-write",
        /// Make tokens for a user.
        CreateTokens = 13 "create-tokens",
        /// See tokens of a user.
        DescribeTokens = 14 "describe-tokens",
        /// Take part in two-phase commits.
        TwoPhaseCommit = 15 "two-phase-commit",
    }
}

coded! {
    /// `org.apache.kafka.common.acl.AclPermissionType`.
    Permission {
        /// Denied, whatever else is allowed.
        Deny = 2 "deny",
        /// Allowed.
        Allow = 3 "allow",
    }
}

impl Operation {
    /// Whether there is such an operation with a kind of resource (`AclEntry.supportedOperations`).
    pub fn applies_to(self, resource: ResourceType) -> bool {
        use Operation as O;
        let known: &[Self] = match resource {
            ResourceType::Topic => &[
                O::Read,
                O::Write,
                O::Create,
                O::Describe,
                O::Delete,
                O::Alter,
                O::DescribeConfigs,
                O::AlterConfigs,
            ],
            ResourceType::Group => &[
                O::Read,
                O::Describe,
                O::Delete,
                O::DescribeConfigs,
                O::AlterConfigs,
            ],
            ResourceType::Cluster => &[
                O::Create,
                O::ClusterAction,
                O::DescribeConfigs,
                O::AlterConfigs,
                O::IdempotentWrite,
                O::Alter,
                O::Describe,
            ],
            ResourceType::TransactionalId => &[O::Describe, O::Write, O::TwoPhaseCommit],
            ResourceType::DelegationToken => &[O::Describe],
            ResourceType::User => &[O::CreateTokens, O::DescribeTokens],
        };
        self == Self::All || known.contains(&self)
    }

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
