use proptest::prelude::*;

use super::*;

fn binding(
    name: &str,
    pattern: PatternType,
    who: &str,
    host: &str,
    operation: Operation,
    permission: Permission,
) -> AclBinding {
    AclBinding {
        resource: ResourceType::Topic,
        name: name.to_owned(),
        pattern,
        principal: Principal::user(who),
        host: host.to_owned(),
        operation,
        permission,
    }
}

fn ask(table: &AclTable, who: &str, operation: Operation, name: &str) -> bool {
    table.allows(&Question {
        principal: &Principal::user(who),
        host: "10.0.0.1",
        operation,
        resource: ResourceType::Topic,
        name,
    })
}

use Operation::{All, AlterConfigs, Create, Describe, DescribeConfigs, Read, Write};
use PatternType::{Literal, Prefixed};
use Permission::{Allow, Deny};

#[test]
fn what_no_rule_allows_is_denied() {
    let rules = [
        binding("orders", Literal, "alice", "*", Read, Allow),
        binding("orders-", Prefixed, "*", "10.0.0.1", Write, Allow),
        binding("*", Literal, "bob", "*", All, Allow),
        binding("secret", Literal, "bob", "*", Read, Deny),
    ];
    let table = AclTable::new(rules, vec![Principal::user("root")], false);
    assert!(ask(&table, "alice", Read, "orders"));
    assert!(
        ask(&table, "alice", Describe, "orders"),
        "who may read may see"
    );
    assert!(!ask(&table, "alice", Write, "orders"));
    assert!(!ask(&table, "alice", Read, "orders-eu"));
    assert!(ask(&table, "carol", Write, "orders-eu"));
    assert!(!ask(&table, "carol", Write, "order"));
    assert!(ask(&table, "bob", Write, "secret") && !ask(&table, "bob", Read, "secret"));
    assert!(
        ask(&table, "bob", Describe, "secret"),
        "to be denied reading denies nothing else"
    );
    assert!(
        ask(&table, "root", Create, "secret"),
        "super users may everything"
    );
    assert!(!ask(&AclTable::default(), "alice", Read, "orders"));
}

#[test]
fn open_is_what_no_rule_is_about() {
    let rules = [binding("orders", Literal, "alice", "*", Read, Allow)];
    let table = AclTable::new(rules, Vec::new(), true);
    assert!(ask(&table, "bob", Read, "other") && !ask(&table, "bob", Read, "orders"));
}

#[test]
fn settings_that_may_be_changed_may_be_seen() {
    let rules = [binding("t", Literal, "a", "*", AlterConfigs, Allow)];
    let table = AclTable::new(rules, Vec::new(), false);
    assert!(ask(&table, "a", DescribeConfigs, "t") && !ask(&table, "a", Describe, "t"));
}

#[test]
fn any_resource_is_one_that_is_not_denied_as_a_whole() {
    let any = |rules: Vec<AclBinding>| {
        let table = AclTable::new(rules, Vec::new(), false);
        table.allows_any(&Principal::user("a"), "h", Write, ResourceType::Topic)
    };
    let allow = |name, pattern| binding(name, pattern, "a", "*", Write, Allow);
    let deny = |name, pattern| binding(name, pattern, "a", "*", Write, Deny);
    assert!(!any(vec![]));
    assert!(any(vec![allow("t", Literal)]));
    assert!(!any(vec![allow("t", Literal), deny("t", Literal)]));
    assert!(!any(vec![allow("tea", Literal), deny("t", Prefixed)]));
    assert!(any(vec![allow("tea", Literal), deny("x", Prefixed)]));
    assert!(!any(vec![allow("te", Prefixed), deny("t", Prefixed)]));
    assert!(any(vec![allow("t", Prefixed), deny("te", Prefixed)]));
    assert!(!any(vec![allow("t", Prefixed), deny("*", Literal)]));
}

#[test]
fn codes_and_texts_of_a_rule_are_checked() {
    let good = RawBinding {
        resource: 2,
        name: "t",
        pattern: 3,
        principal: "User:a",
        host: "*",
        operation: 3,
        permission: 3,
    };
    assert!(good.check().is_ok());
    let cases = [
        RawBinding {
            resource: 1,
            ..good
        },
        RawBinding {
            resource: 9,
            ..good
        },
        RawBinding {
            resource: 4,
            ..good
        },
        RawBinding { pattern: 2, ..good },
        RawBinding {
            operation: 1,
            ..good
        },
        RawBinding {
            permission: 0,
            ..good
        },
        RawBinding { name: "", ..good },
        RawBinding { host: "", ..good },
        RawBinding {
            principal: "a",
            ..good
        },
    ];
    for bad in cases {
        assert!(bad.check().is_err(), "{bad:?}");
    }
    let cluster = RawBinding {
        resource: 4,
        name: CLUSTER,
        ..good
    };
    assert!(cluster.check().is_ok());
}

#[test]
fn filters_pick_by_every_part() {
    let all = RawFilter {
        resource: 1,
        name: None,
        pattern: 1,
        principal: None,
        host: None,
        operation: 1,
        permission: 1,
    };
    let rules = [
        binding("orders", Literal, "a", "*", Read, Allow),
        binding("ord", Prefixed, "b", "*", Read, Allow),
        binding("*", Literal, "c", "h", Write, Deny),
        binding("ordersx", Literal, "d", "*", Read, Allow),
    ];
    let picked = |filter: RawFilter<'_>| {
        let filter = AclFilter::of_raw(&filter).unwrap();
        let picked = rules.iter().filter(|rule| filter.matches(rule));
        picked
            .map(|rule| rule.principal.name().to_owned())
            .collect::<String>()
    };
    assert_eq!(picked(all), "abcd");
    assert_eq!(
        picked(RawFilter {
            name: Some("orders"),
            pattern: 2,
            ..all
        }),
        "abc"
    );
    assert_eq!(
        picked(RawFilter {
            name: Some("orders"),
            ..all
        }),
        "a"
    );
    assert_eq!(picked(RawFilter { pattern: 4, ..all }), "b");
    assert_eq!(
        picked(RawFilter {
            name: Some("ord"),
            pattern: 4,
            ..all
        }),
        "b"
    );
    assert_eq!(
        picked(RawFilter {
            principal: Some("User:d"),
            ..all
        }),
        "d"
    );
    assert_eq!(
        picked(RawFilter {
            host: Some("h"),
            ..all
        }),
        "c"
    );
    assert_eq!(
        picked(RawFilter {
            operation: 4,
            ..all
        }),
        "c"
    );
    assert_eq!(
        picked(RawFilter {
            permission: 2,
            ..all
        }),
        "c"
    );
    assert_eq!(picked(RawFilter { resource: 3, ..all }), "");
    for bad in [
        RawFilter { resource: 0, ..all },
        RawFilter { pattern: 0, ..all },
        RawFilter {
            operation: 99,
            ..all
        },
        RawFilter {
            permission: -1,
            ..all
        },
        RawFilter {
            principal: Some("x"),
            ..all
        },
    ] {
        assert!(AclFilter::of_raw(&bad).is_err(), "{bad:?}");
    }
}

/// Kafka's rule said as plainly as can be, over a list.
fn oracle(
    rules: &[AclBinding],
    principal: &Principal,
    host: &str,
    operation: Operation,
    name: &str,
) -> bool {
    let about = rules.iter().filter(|rule| match rule.pattern {
        Literal => rule.name == "*" || rule.name == name,
        Prefixed => name.starts_with(&rule.name),
    });
    let of_us = about.filter(|rule| {
        (rule.principal.name() == "*" || rule.principal == *principal)
            && (rule.host == "*" || rule.host == host)
    });
    let of_us: Vec<_> = of_us.collect();
    let denies = |rule: &&AclBinding| {
        rule.permission == Deny && (rule.operation == All || rule.operation == operation)
    };
    if of_us.iter().any(denies) {
        return false;
    }
    let implied: &[Operation] = match operation {
        Describe => &[Describe, Read, Write, Operation::Delete, Operation::Alter],
        DescribeConfigs => &[DescribeConfigs, AlterConfigs],
        _ => std::slice::from_ref(&operation),
    };
    of_us.iter().any(|rule| {
        rule.permission == Allow && (rule.operation == All || implied.contains(&rule.operation))
    })
}

fn any_rule() -> impl Strategy<Value = AclBinding> {
    let name = prop_oneof!["[ab]{1,3}", Just("*".to_owned())];
    let who = prop_oneof!["[ab]", Just("*".to_owned())];
    let host = prop_oneof![Just("h"), Just("i"), Just("*")];
    (
        name,
        0..2_usize,
        who,
        host,
        0..Operation::ALL.len(),
        0..2_usize,
    )
        .prop_map(|(name, pattern, who, host, operation, permission)| {
            binding(
                &name,
                PatternType::ALL[pattern],
                &who,
                host,
                Operation::ALL[operation],
                Permission::ALL[permission],
            )
        })
}

proptest! {
    #[test]
    fn the_table_decides_as_the_rule_says(
        rules in prop::collection::vec(any_rule(), 0..12),
        who in "[abc]", operation in 0..Operation::ALL.len(), name in "[ab]{1,4}",
    ) {
        let principal = Principal::user(&who);
        let operation = Operation::ALL[operation];
        let table = AclTable::new(rules.clone(), Vec::new(), false);
        let question = Question {
            principal: &principal,
            host: "h",
            operation,
            resource: ResourceType::Topic,
            name: &name,
        };
        prop_assert_eq!(table.allows(&question), oracle(&rules, &principal, "h", operation, &name));
    }
}
