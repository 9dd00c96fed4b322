//! What a condition over properties costs for each message.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rmq_filter::Condition;

const PROPERTIES: [(&str, &str); 8] = [
    ("UNIQ_KEY", "FD00000000000000000000000000000246E25FFD2B2769C116FD0000"),
    ("KEYS", "order-1234567"),
    ("TAGS", "paid"),
    ("region", "eu-west"),
    ("amount", "1250"),
    ("tier", "3"),
    ("CLUSTER", "DefaultCluster"),
    ("TRACE_ON", "true"),
];

const CONDITIONS: [(&str, &str); 3] = [
    ("one comparison", "tier > 2"),
    ("three comparisons", "region = 'eu-west' AND amount BETWEEN 1000 AND 2000 AND TAGS <> 'void'"),
    (
        "a long list and a null",
        "(region IN ('us-east', 'us-west', 'ap-south', 'eu-north', 'eu-west') OR vip IS NOT NULL) \
         AND (tier >= 3 OR amount > 5000) AND NOT (KEYS IS NULL)",
    ),
];

fn property<'a>(name: &str) -> Option<&'a str> {
    PROPERTIES.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
}

fn conditions(c: &mut Criterion) {
    let mut group = c.benchmark_group("condition");
    group.throughput(Throughput::Elements(1));
    for (name, text) in CONDITIONS {
        let condition = Condition::compile(text).expect("the condition is written here");
        assert!(condition.admits(property), "{text}");
        group.bench_function(name, |bencher| {
            bencher.iter(|| black_box(&condition).admits(|name| property(black_box(name))));
        });
        group.bench_function(format!("{name}, compiled"), |bencher| {
            bencher.iter(|| Condition::compile(black_box(text)));
        });
    }
    group.finish();
}

criterion_group!(benches, conditions);
criterion_main!(benches);
