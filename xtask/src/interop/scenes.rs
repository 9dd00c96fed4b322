//! The repertoire. A scene says who plays what; how it is played lies in the files below.

mod admin;
mod exchange;
mod group;
mod members;
mod mqadmin;
mod pop;
mod relay;
mod retry;
mod spread;
mod store;
mod timer;
mod tls;
mod trace;
mod transaction;
mod twins;
mod watched;

use anyhow::Result;

use super::house::Side::{Apache, Ours};
use super::players::Player;
use super::stage::Stage;

/// One thing that must work between the two worlds.
pub(super) struct Scene {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    /// Quick and steady enough for every change.
    pub(super) quick: bool,
    pub(super) play: fn(&mut Stage<'_>) -> Result<()>,
}

const fn quick(
    name: &'static str,
    about: &'static str,
    play: fn(&mut Stage<'_>) -> Result<()>,
) -> Scene {
    Scene { name, about, quick: true, play }
}

const fn long(
    name: &'static str,
    about: &'static str,
    play: fn(&mut Stage<'_>) -> Result<()>,
) -> Scene {
    Scene { name, about, quick: false, play }
}

pub(super) const SCENES: &[Scene] = &[
    quick("java-java", "Java sends through our servers to Java", |stage| {
        exchange::through(stage, Ours, [Apache, Apache], false)
    }),
    quick("java-java-binary", "the same with binary headers", |stage| {
        exchange::through(stage, Ours, [Apache, Apache], true)
    }),
    quick("java-ours", "Java sends through our servers to our consumer", |stage| {
        exchange::through(stage, Ours, [Apache, Ours], false)
    }),
    quick("ours-java", "our producer sends through our servers to Java", |stage| {
        exchange::through(stage, Ours, [Ours, Apache], false)
    }),
    quick("ours-on-apache", "our producer and consumer on Apache's servers", |stage| {
        exchange::through(stage, Apache, [Ours, Ours], false)
    }),
    quick("batch-delay", "batches and delayed messages of Java on our broker", |stage| {
        exchange::batch_and_delay(stage, Ours)
    }),
    quick("tags-java", "tags with equal hashes, Java on our broker", |stage| {
        exchange::tags(stage, Ours, Apache)
    }),
    long("tags-ours", "tags with equal hashes, our consumer on Apache's broker", |stage| {
        exchange::tags(stage, Apache, Ours)
    }),
    quick("sql-java", "Java's conditions over properties, answered by our broker", |stage| {
        exchange::conditions(stage, Ours, Apache)
    }),
    long("sql-ours", "our conditions over properties, answered by Apache's broker", |stage| {
        exchange::conditions(stage, Apache, Ours)
    }),
    quick(
        "timer-java",
        "Java's timed messages on our broker come in time, and not when taken back",
        timer::comes_and_goes,
    ),
    long(
        "timer-store",
        "timed messages come although our broker and Apache's change hands",
        timer::changes_hands,
    ),
    long(
        "broadcast",
        "each of two Java broadcast consumers gets all from our broker",
        exchange::broadcast,
    ),
    quick("retry-java", "what Java fails to consume comes back from our broker", |stage| {
        retry::comes_back(stage, Ours, Apache)
    }),
    long("retry-ours", "what we fail to consume comes back from Apache's broker", |stage| {
        retry::comes_back(stage, Apache, Ours)
    }),
    long("pop-ours", "our consumer pops from Apache's broker", |stage| {
        retry::popped(stage, Apache, Ours)
    }),
    long("pop-ours-ours", "our consumer pops from our broker, told so by Apache's tool", |stage| {
        retry::popped(stage, Ours, Ours)
    }),
    quick("orderly-java", "an orderly Java consumer on our broker", |stage| {
        retry::orderly(stage, Ours, Apache)
    }),
    long("orderly-ours", "our orderly consumer on Apache's broker", |stage| {
        retry::orderly(stage, Apache, Ours)
    }),
    long("mixed-kill-ours", "one group of Java and us on our broker; we are killed", |stage| {
        group::mixed(stage, Ours, group::Victim::Us)
    }),
    long("mixed-kill-java", "one group of Java and us on our broker; Java is killed", |stage| {
        group::mixed(stage, Ours, group::Victim::Java)
    }),
    long(
        "mixed-apache-ours",
        "one group of Java and us on Apache's broker; we are killed",
        |stage| group::mixed(stage, Apache, group::Victim::Us),
    ),
    long(
        "mixed-apache-java",
        "one group of Java and us on Apache's broker; Java is killed",
        |stage| group::mixed(stage, Apache, group::Victim::Java),
    ),
    quick(
        "transactions-java",
        "Java's transactions on our broker, ended or asked about",
        |stage| transaction::verdicts(stage, Ours, [Apache, Apache]),
    ),
    quick(
        "transactions-ours",
        "our transactions on Apache's broker, to a Java consumer",
        |stage| transaction::verdicts(stage, Apache, [Ours, Apache]),
    ),
    long("transactions-both", "our transactions on our broker, to a Java consumer", |stage| {
        transaction::verdicts(stage, Ours, [Ours, Apache])
    }),
    long(
        "transactions-killed",
        "our broker is killed between Java's half messages and their ends",
        |stage| transaction::killed_between(stage, Apache),
    ),
    long("transactions-to-apache", "Apache takes our open transactions over", |stage| {
        transaction::handed_over(stage, Ours, Apache)
    }),
    long("transactions-from-apache", "we take Apache's open transactions over", |stage| {
        transaction::handed_over(stage, Apache, Ours)
    }),
    quick("replies-java", "Java asks Java through our broker", |stage| {
        transaction::replies(stage, Ours, Apache)
    }),
    quick("replies-ours", "we ask Java through our broker", |stage| {
        transaction::replies(stage, Ours, Ours)
    }),
    long("replies-on-apache", "we ask Java through Apache's broker", |stage| {
        transaction::replies(stage, Apache, Ours)
    }),
    quick("polled-apache", "an application of ours polls Apache's broker", |stage| {
        transaction::polled(stage, Apache)
    }),
    quick("polled-ours", "an application of ours polls our broker, Java sends", |stage| {
        transaction::polled(stage, Ours)
    }),
    long(
        "members-ours-first",
        "we, then Java: members come, leave and are killed, on our broker",
        |stage| members::come_and_go(stage, Ours, members::WE_FIRST, &[]),
    ),
    long("members-java-first", "Java, then we: the same on our broker", |stage| {
        members::come_and_go(stage, Ours, members::JAVA_FIRST, &[])
    }),
    long("members-apache", "members come, leave and are killed, on Apache's broker", |stage| {
        members::come_and_go(stage, Apache, members::WE_FIRST, &[])
    }),
    long("members-orderly", "ordered members come, leave and are killed, on our broker", |stage| {
        members::come_and_go(stage, Ours, members::WE_FIRST, &["--orderly"])
    }),
    long("members-orderly-apache", "ordered members come and go on Apache's broker", |stage| {
        members::come_and_go(stage, Apache, members::JAVA_FIRST, &["--orderly"])
    }),
    long("members-old-java", "Java 4.9, Java 5 and we in one group on our broker", |stage| {
        members::come_and_go(stage, Ours, members::WITH_OLD_JAVA, &[])
    }),
    long("broadcast-mixed", "Java and we each get all from our broker", |stage| {
        members::broadcast(stage, Ours)
    }),
    long("broadcast-mixed-apache", "Java and we each get all from Apache's broker", |stage| {
        members::broadcast(stage, Apache)
    }),
    long("handed-to-java", "what we fail to consume Java consumes, on our broker", |stage| {
        members::handed_over(stage, Ours, Player::Ours)
    }),
    long("handed-to-ours", "what Java fails to consume we consume, on our broker", |stage| {
        members::handed_over(stage, Ours, Player::Java)
    }),
    long("handed-to-java-apache", "what we fail to consume Java consumes, on Apache's", |stage| {
        members::handed_over(stage, Apache, Player::Ours)
    }),
    long("handed-to-ours-apache", "what Java fails to consume we consume, on Apache's", |stage| {
        members::handed_over(stage, Apache, Player::Java)
    }),
    long("dead-ours", "what we fail too often is a dead letter at our broker", |stage| {
        members::dead_letters(stage, Ours, Ours, &[])
    }),
    long("dead-java", "what Java fails too often is a dead letter at our broker", |stage| {
        members::dead_letters(stage, Ours, Apache, &[])
    }),
    long("dead-apache", "what we fail too often is a dead letter at Apache's broker", |stage| {
        members::dead_letters(stage, Apache, Ours, &[])
    }),
    long("dead-orderly-ours", "the same in ordered consumption, at our broker", |stage| {
        members::dead_letters(stage, Ours, Ours, &["--orderly"])
    }),
    long("dead-orderly-java", "the same in Java's ordered consumption, at our broker", |stage| {
        members::dead_letters(stage, Ours, Apache, &["--orderly"])
    }),
    long("dead-orderly-apache", "the same in our ordered consumption, at Apache's", |stage| {
        members::dead_letters(stage, Apache, Ours, &["--orderly"])
    }),
    long("watched", "operators look at and reset a group of Java and us on our broker", |stage| {
        watched::group(stage, Ours)
    }),
    long("watched-apache", "the same on Apache's broker", |stage| watched::group(stage, Apache)),
    long("go", "the Go client sends, consumes, fails and shares a group with us", |stage| {
        members::foreign(stage, Player::Go)
    }),
    long("python", "the Python client (on the C++ client) does the same", |stage| {
        members::foreign(stage, Player::Python)
    }),
    long("pop-java", "a Java push consumer that our broker tells to pop", pop::classic),
    long(
        "pop-proxy",
        "gRPC clients of Java at Apache's proxy in front of our broker",
        pop::through_proxy,
    ),
    long("pop-delay", "delayed messages through Apache's proxy come in time", pop::delayed),
    long(
        "pop-transactions",
        "transactions through Apache's proxy, ended or asked about",
        transaction::through_proxy,
    ),
    long("pop-order", "message groups in order through Apache's proxy", pop::in_order),
    long(
        "pop-priority",
        "Java's messages with priorities on our broker: Java pops higher ones first",
        pop::by_priority,
    ),
    long(
        "pop-kill",
        "our broker is killed while messages are popped through Apache's proxy; nothing is lost",
        pop::killed,
    ),
    quick("admin", "the Java admin client on our servers", admin::verbs),
    long(
        "console",
        "all that Apache's dashboard and exporter ask, through the VIP channel",
        admin::console,
    ),
    long("mqadmin", "Apache's command line on our servers", mqadmin::command_line),
    long(
        "store-clean",
        "Apache opens a store that we closed, and we one that Apache closed",
        |stage| store::handed_over(stage, store::End::Stopped),
    ),
    long("store-killed", "the same after kill -9", |stage| {
        store::handed_over(stage, store::End::Killed)
    }),
    long(
        "store-relay",
        "one store goes back and forth three times, stopped and killed, while old files go",
        relay::back_and_forth,
    ),
    long(
        "store-relay-ext",
        "the same with consume queue extensions, and consumers that want one tag",
        relay::with_extensions,
    ),
    long(
        "kill-mid-load",
        "our broker is killed under a Java producer; nothing confirmed is lost",
        store::killed_under_load,
    ),
    quick("tls-java", "with TLS and without it, on the same ports of our servers", tls::permissive),
    long(
        "tls-only-java",
        "Java checks our certificate; nothing else than TLS is served",
        |stage| tls::enforcing(stage, Ours, Apache),
    ),
    long("tls-only-apache", "we check Apache's; nothing else than TLS is served", |stage| {
        tls::enforcing(stage, Apache, Ours)
    }),
    long("tls-test-java", "Java on our servers with a certificate made at the start", |stage| {
        tls::test_mode(stage, Ours, Apache)
    }),
    long(
        "tls-test-apache",
        "we on Apache's servers with a certificate made at the start",
        |stage| tls::test_mode(stage, Apache, Ours),
    ),
    long("broker-at-apache", "our broker registered at Apache's name server", |stage| {
        exchange::name_server_of_the_other(stage, Apache, Ours)
    }),
    long("apache-at-ours", "Apache's broker registered at our name server", |stage| {
        exchange::name_server_of_the_other(stage, Ours, Apache)
    }),
    long(
        "traces-ours",
        "traces of ours and of Java's clients are the same, on our broker",
        |stage| trace::alike(stage, Ours, &trace::LOCAL),
    ),
    long("traces-apache", "the same on Apache's broker", |stage| {
        trace::alike(stage, Apache, &trace::LOCAL)
    }),
    long("traces-cloud-ours", "the same as a cloud has them, on our broker", |stage| {
        trace::alike(stage, Ours, &trace::CLOUD)
    }),
    long("traces-cloud-apache", "the same as a cloud has them, on Apache's broker", |stage| {
        trace::alike(stage, Apache, &trace::CLOUD)
    }),
    quick("twins", "our name server and Apache's answer the same questions alike", twins::alike),
    long(
        "spread-at-ours",
        "our broker and Apache's under our name server; ours is killed under load and comes back",
        |stage| spread::over_both(stage, Ours, Ours),
    ),
    long(
        "spread-at-apache",
        "our broker and Apache's under Apache's name server; Apache's is killed and comes back",
        |stage| spread::over_both(stage, Apache, Apache),
    ),
    long(
        "two-name-servers",
        "both brokers at our name server and Apache's, which are killed in turn",
        spread::under_both,
    ),
];
