//! Servers and clients over real sockets of the loopback address.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use rmq_remoting::frame::{self, FrameLimits};
use rmq_remoting::{
    Client, ClientConfig, Endpoint, HeaderEncoding, InvokeError, Invoker, Limits, LocalInvoker,
    Peer, Processor, RemotingCommand, Reply, Response, Server, ServerConfig, ServerHandle,
    Unsettled, Unsupported, response_code,
};
use rmq_runtime::system::SystemNet;
use rmq_runtime::{BoxFuture, Clock, ClockExt, Listener, Monotonic, Net, Stream, Tasks, World};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Notify, mpsc, watch};

const SECOND: Duration = Duration::from_secs(1);
const LONG: Duration = Duration::from_secs(20);
const HOUR: Duration = Duration::from_secs(3600);

/// Codes of the processor below; numbers that no table knows, so that any body is right.
const ECHO: i32 = 7000;
const HELD: i32 = 7001;
const SILENT: i32 = 7002;
const LARGE: i32 = 7003;
const ASK_BACK: i32 = 7004;
const TELL_BACK: i32 = 7005;
const GO_AWAY_FIRST: i32 = 7006;
const CLOSE: i32 = 7007;

/// Serves the codes above and remembers what happened.
struct Desk {
    release: Arc<Notify>,
    settled: AtomicUsize,
    unsettled: AtomicBool,
    served: AtomicUsize,
    first: Mutex<Option<u64>>,
    events: mpsc::Sender<Event>,
}

#[derive(Debug, PartialEq, Eq)]
enum Event {
    Connected(u64),
    Closed(u64),
    /// A request arrived: code, whether it is one-way.
    Asked(i32, bool),
}

impl Desk {
    fn open() -> (Arc<Self>, mpsc::Receiver<Event>) {
        let (events, received) = mpsc::channel(100_000);
        let desk = Self {
            release: Arc::default(),
            settled: AtomicUsize::new(0),
            unsettled: AtomicBool::new(false),
            served: AtomicUsize::new(0),
            first: Mutex::default(),
            events,
        };
        (Arc::new(desk), received)
    }

    fn note(&self, event: Event) {
        // Not every test listens to the end.
        drop(self.events.try_send(event));
    }
}

impl Processor for Desk {
    fn process(&self, peer: &Arc<Peer>, request: RemotingCommand) -> Reply {
        self.served.fetch_add(1, Ordering::SeqCst);
        self.note(Event::Asked(request.code, request.is_oneway()));
        match request.code {
            ECHO => Reply::Now(Response {
                fields: request.fields,
                body: request.body.into(),
                ..Response::ok()
            }),
            HELD => {
                let release = Arc::clone(&self.release);
                Reply::Later(Box::pin(async move {
                    release.notified().await;
                    Response::ok().with_remark("released")
                }))
            }
            SILENT => Reply::None,
            LARGE => {
                let parts =
                    (0..40_u8).map(|part| Bytes::from(vec![part; 3000 * usize::from(part)]));
                Reply::Now(Response { body: parts.collect(), ..Response::ok() })
            }
            ASK_BACK => {
                let peer = Arc::clone(peer);
                Reply::Later(Box::pin(async move {
                    let question = RemotingCommand::request(ECHO).with_field("who", "server");
                    match peer.invoke(question, LONG).await {
                        Ok(answer) => Response::ok().with_remark(answer.field("who").unwrap()),
                        Err(error) => Response::error(1, error.to_string()),
                    }
                }))
            }
            TELL_BACK => {
                peer.oneway(RemotingCommand::request(ECHO)).unwrap();
                Reply::Now(Response::ok())
            }
            GO_AWAY_FIRST => {
                let first = *self.first.lock().get_or_insert(peer.id());
                let code = if first == peer.id() { response_code::GO_AWAY } else { 0 };
                Reply::Now(Response::error(code, ""))
            }
            CLOSE => {
                peer.close();
                Reply::None
            }
            code => Reply::Now(Response::not_supported(code)),
        }
    }

    fn settle(&self) -> Result<(), Unsettled> {
        self.settled.fetch_add(1, Ordering::SeqCst);
        if self.unsettled.load(Ordering::SeqCst) {
            return Err(Unsettled { reason: "no disk".into() });
        }
        Ok(())
    }

    fn connected(&self, peer: &Arc<Peer>) {
        self.note(Event::Connected(peer.id()));
    }

    fn closed(&self, peer: &Arc<Peer>) {
        self.note(Event::Closed(peer.id()));
    }
}

/// A server, and what is needed to talk to it.
struct Room {
    world: World,
    tasks: Tasks,
    desk: Arc<Desk>,
    events: mpsc::Receiver<Event>,
    server: ServerHandle,
}

impl Room {
    async fn open() -> Self {
        Self::with(World::system(), ServerConfig::default()).await
    }

    async fn with(world: World, config: ServerConfig) -> Self {
        let (tasks, (desk, events)) = (Tasks::new("test"), Desk::open());
        let server = Server::builder(world.clone(), &tasks)
            .processor(Arc::clone(&desk) as Arc<dyn Processor>)
            .config(config)
            .start()
            .await
            .unwrap();
        Self { world, tasks, desk, events, server }
    }

    fn endpoint(&self) -> Endpoint {
        self.server.local_addr().into()
    }

    async fn line(&self) -> Line {
        let stream = self.world.net.connect(self.server.local_addr()).await.unwrap();
        Line { stream, input: BytesMut::new() }
    }

    fn client(&self, config: ClientConfig) -> (Arc<Client>, Arc<Desk>, mpsc::Receiver<Event>) {
        let (desk, events) = Desk::open();
        let processor = Arc::clone(&desk) as Arc<dyn Processor>;
        (Client::new(self.world.clone(), &self.tasks, config, processor), desk, events)
    }

    fn plain_client(&self) -> Arc<Client> {
        self.client(ClientConfig::default()).0
    }

    /// Waits until a request of this code was seen.
    async fn asked(&mut self, code: i32) {
        heard(&mut self.events, Event::Asked(code, false)).await;
    }
}

/// What is waited for; a test that waits in vain fails.
async fn soon<T>(what: impl Future<Output = T> + Send) -> T {
    World::system().clock.timeout(LONG, what).await.expect("it comes soon")
}

async fn heard(events: &mut mpsc::Receiver<Event>, event: Event) {
    soon(async { while events.recv().await.unwrap() != event {} }).await;
}

async fn closed(events: &mut mpsc::Receiver<Event>) {
    soon(async { while !matches!(events.recv().await, Some(Event::Closed(_))) {} }).await;
}

/// A connection by hand.
struct Line {
    stream: Box<dyn Stream>,
    input: BytesMut,
}

impl Line {
    async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// The next frame; `None` when the other side has closed.
    async fn next(&mut self) -> Option<RemotingCommand> {
        loop {
            let limits = FrameLimits::SERVER;
            if let Some(command) = frame::decode(&mut self.input, &limits).unwrap() {
                return Some(command);
            }
            if soon(self.stream.read_buf(&mut self.input)).await.unwrap_or(0) == 0 {
                return None;
            }
        }
    }
}

fn request(code: i32, opaque: i32) -> RemotingCommand {
    RemotingCommand { opaque, ..RemotingCommand::request(code) }
}

fn bytes(commands: impl IntoIterator<Item = RemotingCommand>) -> Vec<u8> {
    let mut out = Vec::new();
    for command in commands {
        frame::encode_whole(&command, &mut out).unwrap();
    }
    out
}

#[tokio::test]
async fn pipelined_requests_are_all_answered_and_settled_by_turns() {
    let room = Room::open().await;
    let mut line = room.line().await;
    let all = (0..1000).map(|n| request(ECHO, n).with_field("n", &n.to_string()));
    line.send(&bytes(all)).await;
    for n in 0..1000 {
        let answer = line.next().await.unwrap();
        assert!(answer.is_response() && answer.is_success());
        assert_eq!((answer.opaque, answer.version), (n, 513));
        assert_eq!(answer.field("n"), Some(&*n.to_string()));
    }
    let settled = room.desk.settled.load(Ordering::SeqCst);
    assert!((4..500).contains(&settled), "{settled} turns for 1000 requests");
}

#[tokio::test]
async fn frame_is_understood_byte_by_byte_and_binary_is_answered_in_binary() {
    let room = Room::open().await;
    let mut line = room.line().await;
    let mut question = request(ECHO, 5).with_field("k", "v").with_body(vec![9; 100]);
    question.encoding = HeaderEncoding::Binary;
    for byte in bytes([question]) {
        line.send(&[byte]).await;
        line.stream.flush().await.unwrap();
        tokio::task::yield_now().await;
    }
    let answer = line.next().await.unwrap();
    assert_eq!((answer.encoding, answer.opaque), (HeaderEncoding::Binary, 5));
    assert_eq!((answer.field("k"), &answer.body[..]), (Some("v"), &[9; 100][..]));
}

#[tokio::test]
async fn large_body_of_many_pieces_arrives_whole() {
    let room = Room::open().await;
    let client = room.plain_client();
    let answer = client.invoke(&room.endpoint(), request(LARGE, 0), LONG).await.unwrap();
    let wanted: Vec<u8> =
        (0..40_u8).flat_map(|part| vec![part; 3000 * usize::from(part)]).collect();
    assert!(answer.body == wanted);
    let body = Bytes::from(vec![7; 15 << 20]);
    let question = request(ECHO, 0).with_body(body.clone());
    let answer = client.invoke(&room.endpoint(), question, LONG).await.unwrap();
    assert!(answer.body == body);
}

#[tokio::test]
async fn answers_that_wait_for_a_slow_reader_hold_back_its_requests() {
    let room = Room::open().await;
    let line = room.line().await;
    let (count, size) = (100, 1 << 20);
    let large = bytes((0..count).map(|n| request(ECHO, n).with_body(vec![1; size])));
    // No buffer on the way holds 100 MiB: requests and answers must flow together.
    let (mut reader, mut writer) = tokio::io::split(line.stream);
    let read = async {
        let (mut answers, mut input) = (0, BytesMut::new());
        while answers < count {
            assert_ne!(reader.read_buf(&mut input).await.unwrap(), 0);
            while frame::decode(&mut input, &FrameLimits::SERVER).unwrap().is_some() {
                answers += 1;
            }
        }
    };
    let (written, ()) = tokio::join!(writer.write_all(&large), read);
    written.unwrap();
}

#[tokio::test]
async fn server_asks_its_client_over_the_same_connection() {
    let mut room = Room::open().await;
    let (client, desk, mut heard) = room.client(ClientConfig::default());
    let answer = client.invoke(&room.endpoint(), request(ASK_BACK, 0), LONG).await.unwrap();
    assert_eq!(answer.remark(), "server");
    assert_eq!(desk.served.load(Ordering::SeqCst), 1);
    client.invoke(&room.endpoint(), request(TELL_BACK, 0), LONG).await.unwrap();
    let heard: Vec<_> = [heard.recv().await, heard.recv().await, heard.recv().await].into();
    let [Some(Event::Connected(_)), Some(Event::Asked(ECHO, false)), told] = &heard[..] else {
        panic!("{heard:?}")
    };
    assert_eq!(*told, Some(Event::Asked(ECHO, true)));
    room.asked(TELL_BACK).await;
}

#[tokio::test]
async fn oneway_request_is_served_and_never_answered() {
    let mut room = Room::open().await;
    let mut line = room.line().await;
    let oneway = [ECHO, HELD, 999].map(|code| request(code, 1).oneway());
    line.send(&bytes(oneway.into_iter().chain([request(ECHO, 2)]))).await;
    assert_eq!(line.next().await.unwrap().opaque, 2);
    room.asked(ECHO).await;
    assert_eq!(room.desk.served.load(Ordering::SeqCst), 4);

    let client = room.plain_client();
    client.oneway(&room.endpoint(), request(SILENT, 0), LONG).await.unwrap();
    heard(&mut room.events, Event::Asked(SILENT, true)).await;
}

#[tokio::test]
async fn unknown_code_is_answered_as_other_servers_do() {
    let room = Room::open().await;
    let mut line = room.line().await;
    line.send(&bytes([request(13_333, 4)])).await;
    let answer = line.next().await.unwrap();
    assert_eq!((answer.code, answer.opaque), (3, 4));
    assert_eq!(answer.remark(), " request type 13333 not supported");
}

#[tokio::test]
async fn garbage_closes_its_connection_after_the_good_frames_were_answered() {
    let room = Room::open().await;
    let mut other = room.line().await;
    for garbage in [&b"\x16\x03\x01\x02\x00"[..], &[0x7f; 8], b"\0\0\0\x0a\0\0\0\x02xxyyyy"] {
        let mut line = room.line().await;
        line.send(&[&bytes([request(ECHO, 1)])[..], garbage].concat()).await;
        assert_eq!(line.next().await.unwrap().opaque, 1);
        assert!(line.next().await.is_none());
    }
    other.send(&bytes([request(ECHO, 2)])).await;
    assert_eq!(other.next().await.unwrap().opaque, 2);
}

#[tokio::test]
async fn body_beyond_the_limit_of_its_code_is_refused() {
    let room = Room::open().await;
    let mut line = room.line().await;
    line.send(&bytes([request(105, 1).with_body(vec![0; 65 << 10])])).await;
    let answer = line.next().await.unwrap();
    assert_eq!(answer.code, response_code::SYSTEM_ERROR);
    assert_eq!(answer.remark(), "a body of 66560 bytes is too large for GET_ROUTEINFO_BY_TOPIC");
    assert_eq!(room.desk.served.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn turn_that_cannot_be_settled_is_never_answered() {
    let mut room = Room::open().await;
    let client = room.plain_client();
    client.invoke(&room.endpoint(), request(ECHO, 0), LONG).await.unwrap();
    room.desk.unsettled.store(true, Ordering::SeqCst);
    let error = client.invoke(&room.endpoint(), request(ECHO, 0), LONG).await.unwrap_err();
    assert!(matches!(error, InvokeError::Closed { .. }), "{error}");
    assert!(!error.is_unsent());
    room.asked(ECHO).await;
}

#[tokio::test]
async fn late_answers_overtake_each_other() {
    let mut room = Room::open().await;
    let mut line = room.line().await;
    line.send(&bytes([request(HELD, 1), request(ECHO, 2)])).await;
    assert_eq!(line.next().await.unwrap().opaque, 2);
    room.asked(HELD).await;
    // Nor does it hold up what is read after it.
    line.send(&bytes([request(ECHO, 3)])).await;
    assert_eq!(line.next().await.unwrap().opaque, 3);
    room.desk.release.notify_waiters();
    let answer = line.next().await.unwrap();
    assert_eq!((answer.opaque, answer.remark()), (1, "released"));
}

#[tokio::test]
async fn all_who_wait_learn_at_once_that_the_connection_broke() {
    let mut room = Room::open().await;
    let (client, _desk, mut events) = room.client(ClientConfig::default());
    let to = room.endpoint();
    let waiting: Vec<_> = (0..10).map(|_| client.invoke(&to, request(SILENT, 0), LONG)).collect();
    let waiting = futures_util::future::join_all(waiting);
    let close = async {
        for _ in 0..10 {
            room.asked(SILENT).await;
        }
        client.oneway(&to, request(CLOSE, 0), LONG).await.unwrap();
    };
    let (answers, ()) = tokio::join!(waiting, close);
    assert!(answers.iter().all(|answer| matches!(answer, Err(InvokeError::Closed { .. }))));
    closed(&mut events).await;
    client.invoke(&to, request(ECHO, 0), LONG).await.unwrap();
}

#[tokio::test]
async fn answer_that_does_not_come_is_a_timeout_and_one_that_comes_late_is_dropped() {
    let mut room = Room::open().await;
    let client = room.plain_client();
    let to = room.endpoint();
    let late = client.invoke(&to, request(HELD, 0), Duration::from_millis(20));
    let error = soon(late).await.unwrap_err();
    assert!(matches!(error, InvokeError::Timeout { code: HELD, .. }), "{error}");
    room.asked(HELD).await;
    room.desk.release.notify_waiters();
    let answer = client.invoke(&to, request(ECHO, 0).with_field("a", "b"), LONG).await.unwrap();
    assert_eq!(answer.field("a"), Some("b"));
}

#[tokio::test]
async fn nobody_at_the_address_is_told_as_such() {
    let room = Room::open().await;
    let client = room.plain_client();
    let listener = room.world.net.listen(SocketAddr::from(([127, 0, 0, 1], 0)), false).await;
    let free: Endpoint = listener.unwrap().local_addr().into();
    let error = client.invoke(&free, request(ECHO, 0), SECOND).await.unwrap_err();
    assert!(matches!(error, InvokeError::Connect { .. }) && error.is_unsent(), "{error}");
}

#[tokio::test]
async fn binary_client_sends_codes_that_do_not_fit_as_json() {
    let room = Room::open().await;
    let config = ClientConfig { encoding: HeaderEncoding::Binary, ..ClientConfig::default() };
    let (client, ..) = room.client(config);
    let answer = client.invoke(&room.endpoint(), request(ECHO, 0), LONG).await.unwrap();
    assert_eq!(answer.encoding, HeaderEncoding::Binary);
    let answer = client.invoke(&room.endpoint(), request(200_050, 0), LONG).await.unwrap();
    assert_eq!((answer.encoding, answer.code), (HeaderEncoding::Json, 3));
    assert_eq!(answer.remark(), " request type 200050 not supported");
}

#[tokio::test]
async fn client_that_is_sent_away_asks_once_more_on_a_new_connection() {
    let mut room = Room::open().await;
    let client = room.plain_client();
    let answer = client.invoke(&room.endpoint(), request(GO_AWAY_FIRST, 0), LONG).await.unwrap();
    assert!(answer.is_success());
    let mut connections = 0;
    while let Ok(event) = room.events.try_recv() {
        connections += usize::from(matches!(event, Event::Connected(_)));
    }
    assert_eq!(connections, 2);
}

#[tokio::test]
async fn draining_server_finishes_what_it_began_and_sends_new_requests_away() {
    let mut room = Room::open().await;
    let mut line = room.line().await;
    line.send(&bytes([request(HELD, 1)])).await;
    room.asked(HELD).await;
    let release = Arc::clone(&room.desk.release);
    let ask = async {
        // Until the connection has heard of it, requests are served as ever.
        let away = loop {
            line.send(&bytes([request(ECHO, 2)])).await;
            let answer = line.next().await.unwrap();
            if !answer.is_success() {
                break answer;
            }
        };
        assert_eq!((away.code, away.opaque), (response_code::GO_AWAY, 2));
        let old = RemotingCommand { version: 475, ..request(ECHO, 3) };
        line.send(&bytes([old])).await;
        assert!(line.next().await.unwrap().is_success());
        release.notify_waiters();
        assert_eq!(line.next().await.unwrap().opaque, 1);
        assert!(line.next().await.is_none());
    };
    tokio::join!(ask, room.server.drain(LONG));
    assert_eq!(room.server.connections(), 0);
    assert!(room.world.net.connect(room.server.local_addr()).await.is_err());
}

#[tokio::test]
async fn draining_server_cuts_off_what_does_not_end() {
    let mut room = Room::open().await;
    let mut line = room.line().await;
    line.send(&bytes([request(HELD, 1)])).await;
    room.asked(HELD).await;
    room.server.drain(Duration::from_millis(10)).await;
    assert!(line.next().await.is_none());
}

#[tokio::test]
async fn shards_share_one_port() {
    let config = ServerConfig { shards: 3, ..ServerConfig::default() };
    let room = Room::with(World::system(), config).await;
    let mut lines = Vec::new();
    for n in 0..12 {
        let mut line = room.line().await;
        line.send(&bytes([request(ECHO, n)])).await;
        assert_eq!(line.next().await.unwrap().opaque, n);
        lines.push(line);
    }
    assert_eq!(room.server.connections(), 12);
    room.server.drain(LONG).await;
    for mut line in lines {
        assert!(line.next().await.is_none());
    }
    assert_eq!(room.tasks.stop(&*room.world.clock, LONG).await, Vec::<String>::new());
}

#[tokio::test]
async fn stopping_the_tasks_ends_servers_and_clients() {
    let room = Room::with(World::system(), ServerConfig { shards: 1, ..Default::default() }).await;
    let client = room.plain_client();
    client.invoke(&room.endpoint(), request(ECHO, 0), LONG).await.unwrap();
    assert_eq!(room.tasks.stop(&*room.world.clock, LONG).await, Vec::<String>::new());
    assert_eq!(room.server.connections(), 0);
}

#[tokio::test]
async fn connections_beyond_the_limit_are_closed_at_once() {
    let config = ServerConfig { connections_max: 1, ..ServerConfig::default() };
    let room = Room::with(World::system(), config).await;
    let mut first = room.line().await;
    first.send(&bytes([request(ECHO, 1)])).await;
    assert!(first.next().await.is_some());
    assert!(room.line().await.next().await.is_none());
    first.send(&bytes([request(ECHO, 2)])).await;
    assert!(first.next().await.is_some());
}

#[tokio::test]
async fn requests_to_one_peer_are_limited() {
    let room = Room::open().await;
    let limits = Limits { in_flight_max: 2, outbox_max: 0, ..Limits::CLIENT };
    let (client, ..) = room.client(ClientConfig { limits, ..ClientConfig::default() });
    let to = room.endpoint();
    client.invoke(&to, request(ECHO, 0), LONG).await.unwrap();
    let waiting = futures_util::future::join_all(
        (0..3).map(|_| client.invoke(&to, request(SILENT, 0), Duration::from_millis(50))),
    );
    let refused = waiting.await.into_iter().filter(
        |answer| matches!(answer, Err(error @ InvokeError::TooMany { .. }) if error.is_unsent()),
    );
    assert!(refused.count() >= 1);
}

#[tokio::test]
async fn local_invoker_answers_as_a_socket_would() {
    let (desk, mut events) = Desk::open();
    let clock = World::system().clock;
    let invoker = LocalInvoker::new(Arc::clone(&desk) as Arc<dyn Processor>, clock);
    let to: Endpoint = "anywhere:1".parse().unwrap();
    let question = request(ECHO, 7).with_field("a", "\u{1}").with_body("body");
    let answer = invoker.invoke(&to, question, LONG).await.unwrap();
    assert_eq!((answer.field("a"), &answer.body[..]), (Some("\u{1}"), &b"body"[..]));
    assert!(answer.is_response());
    let error = invoker.invoke(&to, request(SILENT, 0), Duration::from_millis(1)).await;
    assert!(matches!(error, Err(InvokeError::Timeout { .. })));
    invoker.oneway(&to, request(ECHO, 0), LONG).await.unwrap();
    desk.unsettled.store(true, Ordering::SeqCst);
    let error = invoker.invoke(&to, request(ECHO, 0), LONG).await;
    assert!(matches!(error, Err(InvokeError::Closed { .. })));
    drop(invoker);
    let mut last = None;
    while let Ok(event) = events.try_recv() {
        last = Some(event);
    }
    assert!(matches!(last, Some(Event::Closed(_))));
}

#[tokio::test]
async fn processor_of_nothing_supports_nothing() {
    let invoker = LocalInvoker::new(Arc::new(Unsupported), World::system().clock);
    let to: Endpoint = "anywhere:1".parse().unwrap();
    let answer = invoker.invoke(&to, request(10, 0), LONG).await.unwrap();
    assert_eq!((answer.code, answer.remark()), (3, " request type 10 not supported"));
}

/// A clock that stands still until it is told.
struct Slow {
    now: watch::Sender<Monotonic>,
}

impl Slow {
    fn world() -> (World, Arc<Self>) {
        let clock = Arc::new(Self { now: watch::Sender::new(Monotonic::default()) });
        (World { clock: Arc::clone(&clock) as Arc<dyn Clock>, ..World::system() }, clock)
    }

    /// Lets time pass, step by step, until the future is ready; answers how much passed.
    async fn pass_until(&self, future: impl Future<Output = ()>) -> Duration {
        let mut future = std::pin::pin!(future);
        let start = *self.now.borrow();
        loop {
            tokio::select! {
                biased;
                () = &mut future => return self.now.borrow().since(start),
                () = settle() => self.now.send_modify(|now| *now = *now + SECOND),
            }
            assert!(self.now.borrow().since(start) < HOUR, "it never happens");
        }
    }
}

/// Long enough for everything that is ready to happen.
async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

impl Clock for Slow {
    fn wall(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH
    }

    fn monotonic(&self) -> Monotonic {
        *self.now.borrow()
    }

    fn sleep_until(&self, at: Monotonic) -> BoxFuture<'static, ()> {
        let mut now = self.now.subscribe();
        Box::pin(async move {
            drop(now.wait_for(|now| *now >= at).await);
        })
    }

    fn utc_offset_ms(&self) -> i64 {
        0
    }
}

/// HI-02.
#[tokio::test]
async fn frame_that_never_ends_ends_its_connection_and_no_other() {
    let (world, clock) = Slow::world();
    let mut room = Room::with(world, ServerConfig::default()).await;
    let mut other = room.line().await;
    other.send(&bytes([request(HELD, 1)])).await;
    room.asked(HELD).await;

    let whole = bytes([request(ECHO, 2).with_body(vec![0; 100])]);
    for (cut, least, most) in [(5, 9, 21), (whole.len() - 50, 29, 41)] {
        let mut line = room.line().await;
        line.send(&[&bytes([request(ECHO, 1)])[..], &whole[..cut]].concat()).await;
        assert_eq!(line.next().await.unwrap().opaque, 1);
        let passed = clock.pass_until(async { assert!(line.next().await.is_none()) }).await;
        assert!((least..most).contains(&passed.as_secs()), "{passed:?}");
    }
    room.desk.release.notify_waiters();
    assert_eq!(other.next().await.unwrap().opaque, 1);
}

#[tokio::test]
async fn idle_connection_is_closed_after_two_minutes() {
    let (world, clock) = Slow::world();
    let room = Room::with(world, ServerConfig::default()).await;
    let mut line = room.line().await;
    line.send(&bytes([request(ECHO, 1)])).await;
    assert_eq!(line.next().await.unwrap().opaque, 1);
    let passed = clock.pass_until(async { assert!(line.next().await.is_none()) }).await;
    assert!((119..141).contains(&passed.as_secs()), "{passed:?}");
}

#[tokio::test]
async fn a_client_closes_what_was_idle_for_two_minutes() {
    let (world, clock) = Slow::world();
    let limits = Limits { idle: HOUR, ..Limits::SERVER };
    let room = Room::with(world, ServerConfig { limits, ..Default::default() }).await;
    let (client, _desk, mut events) = room.client(ClientConfig::default());
    client.invoke(&room.endpoint(), request(ECHO, 0), LONG).await.unwrap();
    let passed = clock.pass_until(closed(&mut events)).await;
    assert!((119..141).contains(&passed.as_secs()), "{passed:?}");
}

/// A network in which nobody answers.
struct Silence;

#[async_trait::async_trait]
impl Net for Silence {
    async fn connect(&self, _to: SocketAddr) -> io::Result<Box<dyn Stream>> {
        std::future::pending().await
    }

    async fn listen(&self, at: SocketAddr, shared: bool) -> io::Result<Box<dyn Listener>> {
        SystemNet.listen(at, shared).await
    }

    async fn resolve(&self, host_port: &str) -> io::Result<Vec<SocketAddr>> {
        SystemNet.resolve(host_port).await
    }

    fn local_ips(&self) -> Vec<IpAddr> {
        Vec::new()
    }
}

#[tokio::test]
async fn dialling_is_given_up_after_three_seconds_however_long_the_call_may_take() {
    let (world, clock) = Slow::world();
    let (world, tasks) = (World { net: Arc::new(Silence), ..world }, Tasks::new("test"));
    let client = Client::new(world, &tasks, ClientConfig::default(), Arc::new(Unsupported));
    let to: Endpoint = "127.0.0.1:1".parse().unwrap();
    let call = async {
        let error = client.invoke(&to, request(ECHO, 0), LONG).await.unwrap_err();
        assert!(matches!(error, InvokeError::Connect { .. }) && error.is_unsent(), "{error}");
    };
    assert_eq!(clock.pass_until(call).await, 3 * SECOND);
}

/// HI-02: the shared budget.
#[tokio::test]
async fn frames_that_have_begun_share_a_budget() {
    let limits = Limits { unfinished_max: 1 << 20, ..Limits::SERVER };
    let mut room = Room::with(World::system(), ServerConfig { limits, ..Default::default() }).await;
    let whole = bytes([request(ECHO, 1).with_body(vec![0; 2 << 20])]);
    let mut line = room.line().await;
    let half = &whole[..whole.len() - (1 << 19)];
    // The server closes before everything is written.
    drop(line.stream.write_all(half).await);
    closed(&mut room.events).await;
    let mut line = room.line().await;
    line.send(&bytes([request(ECHO, 1).with_body(vec![0; 1 << 19])])).await;
    assert_eq!(line.next().await.unwrap().opaque, 1);
}
