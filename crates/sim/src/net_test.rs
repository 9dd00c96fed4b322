use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::Schedule;

const AT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), 80);

struct Pair {
    near: Box<dyn Stream>,
    far: Box<dyn Stream>,
    listener: Box<dyn Listener>,
}

/// Machine 2 has dialled machine 1.
async fn pair(net: &SimNet) -> Pair {
    let mut listener = net.of(1).listen(AT, false).await.unwrap();
    let near = net.of(2).connect(AT).await.unwrap();
    let far = listener.accept().await.unwrap();
    Pair { near, far, listener }
}

fn run(scene: impl AsyncFnOnce(SimNet, Arc<SimClock>) + Send + 'static) {
    let schedule = Schedule::new(1, 0);
    let clock = Arc::clone(schedule.clock());
    let net = SimNet::new(&clock, 1);
    block_on(&schedule, Box::pin(scene(net, clock)));
}

/// The future need not be `Send`: it is polled on this thread only, by hand.
fn block_on(
    schedule: &Arc<Schedule>,
    mut future: std::pin::Pin<Box<dyn Future<Output = ()> + '_>>,
) {
    let waker = Waker::noop();
    for _ in 0..100_000 {
        if future.as_mut().poll(&mut Context::from_waker(waker)).is_ready() {
            return;
        }
        assert!(schedule.clock().advance_to_next(), "everybody waits");
    }
    panic!("it does not end");
}

#[test]
fn bytes_come_later_in_order_and_then_the_end() {
    run(async |net, clock| {
        let Pair { mut near, mut far, .. } = pair(&net).await;
        let before = clock.nanos();
        for part in [&b"one "[..], b"two ", b"three"] {
            near.write_all(part).await.unwrap();
        }
        drop(near);
        let mut all = String::new();
        far.read_to_string(&mut all).await.unwrap();
        assert_eq!(all, "one two three");
        assert!(clock.nanos() - before >= 100_000);
        drop(far);
        assert_eq!(net.connections(), 0);
    });
}

#[test]
fn a_cut_link_holds_everything_back_in_its_direction_only() {
    run(async |net, clock| {
        let Pair { mut near, mut far, listener } = pair(&net).await;
        net.cut(2, 1);
        near.write_all(b"held").await.unwrap();
        far.write_all(b"passes").await.unwrap();
        let mut got = [0; 6];
        near.read_exact(&mut got).await.unwrap();
        let mut byte = [0; 1];
        let quiet = clock.timeout(Duration::from_secs(60), far.read(&mut byte)).await;
        assert!(quiet.is_err());
        let dialled = clock.timeout(Duration::from_secs(60), net.of(2).connect(AT)).await;
        assert!(dialled.is_err());
        net.mend(2, 1);
        // Either it arrives now or the connection is broken.
        match far.read(&mut byte).await {
            Ok(count) => assert_eq!((count, byte[0]), (1, b'h')),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset),
        }
        assert!(net.of(2).connect(AT).await.is_ok());
        drop(listener);
    });
}

#[test]
fn a_killed_program_is_noticed_at_once_and_a_machine_without_power_is_not() {
    run(async |net, clock| {
        let Pair { mut near, far, listener } = pair(&net).await;
        net.program_ended(1);
        assert!(near.read(&mut [0]).await.is_err());
        assert!(net.of(2).connect(AT).await.is_err());
        drop((far, listener));
        let Pair { mut near, far, listener } = pair(&net).await;
        net.power_lost(1);
        drop((far, listener));
        near.write_all(b"into the void").await.unwrap();
        let mut byte = [0; 1];
        assert!(clock.timeout(Duration::from_secs(600), near.read(&mut byte)).await.is_err());
        net.power_back(1);
        near.write_all(b"anybody?").await.unwrap();
        assert!(near.read(&mut byte).await.is_err());
    });
}

#[test]
fn a_reader_that_does_not_read_stops_the_writer() {
    run(async |net, clock| {
        let Pair { mut near, mut far, .. } = pair(&net).await;
        let bytes = vec![7; 1 << 20];
        let stuck = clock.timeout(Duration::from_secs(9), near.write_all(&bytes)).await;
        assert!(stuck.is_err());
        let mut some = vec![0; 100 << 10];
        far.read_exact(&mut some).await.unwrap();
        assert!(near.write(&bytes).await.unwrap() > 0);
    });
}
