//! What connections cost the server's process in resident memory: ten thousand that are silent, the
//! same after one exchange each, and after a thousand that stop in the middle of a large request;
//! then a thousand handshakes of TLS that do not go on.

#![expect(clippy::unwrap_used, reason = "a bench that panics has failed")]
#![expect(clippy::disallowed_methods, reason = "a bench reads what the kernel says of a process")]
#![expect(clippy::disallowed_types, reason = "plain clients, as foreign as can be")]
#![expect(clippy::print_stdout, reason = "this is what a bench is for")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rmq_remoting::frame;
use rmq_remoting::protocol::offset::MaxOffset;
use rmq_remoting::{RemotingCommand, TypedRequest};

const IDLE: usize = 10_000;
const SLOW: usize = 1_000;
/// Bytes of a slow client's request that come before it stops.
const BEGUN: usize = 64 << 10;

struct Server {
    child: Child,
    address: SocketAddr,
    _dir: tempfile::TempDir,
}

impl Server {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_rmq-server"))
            .args(["broker", "--store"])
            .arg(dir.path())
            .args(["--set", "listenPort=0"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = lines
            .find_map(|line| line.unwrap().split([' ', ',']).find_map(|word| word.parse().ok()))
            .unwrap();
        Self { child, address, _dir: dir }
    }

    /// Resident and anonymous KiB.
    fn memory(&self) -> (u64, u64) {
        // What was freed lately is given back.
        std::thread::sleep(Duration::from_secs(2));
        let status = std::fs::read(format!("/proc/{}/status", self.child.id())).unwrap();
        let status = String::from_utf8(status).unwrap();
        let kib = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim().trim_end_matches(" kB").parse().unwrap()
        };
        (kib("VmRSS:"), kib("RssAnon:"))
    }

    fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn framed(request: &RemotingCommand) -> Vec<u8> {
    let mut out = Vec::new();
    frame::encode_whole(request, &mut out).unwrap();
    out
}

fn exchange(stream: &mut TcpStream, request: &[u8]) {
    stream.write_all(request).unwrap();
    let mut len = [0; 4];
    stream.read_exact(&mut len).unwrap();
    let mut rest = vec![0; usize::try_from(u32::from_be_bytes(len)).unwrap()];
    stream.read_exact(&mut rest).unwrap();
}

fn main() {
    let server = Server::start();
    let (base, _) = say("at the start", &server, None);
    let mut idle: Vec<_> = (0..IDLE).map(|_| server.connect()).collect();
    say("10,000 that have said nothing", &server, Some((base, IDLE)));
    let request = MaxOffset { topic: "T".into(), queue_id: 0, committed: None };
    let request = framed(&request.to_command());
    for stream in &mut idle {
        exchange(stream, &request);
    }
    let (with_idle, _) = say("the same after an exchange each", &server, Some((base, IDLE)));

    // The first part of a frame of one MiB.
    let mut begun = vec![b'x'; BEGUN];
    begun[..4].copy_from_slice(&(1_u32 << 20).to_be_bytes());
    begun[4..8].copy_from_slice(&100_u32.to_be_bytes());
    let slow: Vec<_> = (0..SLOW)
        .map(|_| {
            let mut stream = server.connect();
            // Whether all of it is taken is the server's business.
            stream.set_write_timeout(Some(Duration::from_secs(5))).unwrap();
            let _taken = stream.write(&begun);
            stream
        })
        .collect();
    say("and 1,000 in the middle of a request", &server, Some((with_idle, SLOW)));
    drop(slow);
    say("those have gone", &server, Some((base, IDLE)));
    drop(idle);
    say("all have gone", &server, None);

    let hello = hello();
    for (what, part) in [
        ("1,000 in the middle of a handshake's hello", &hello[..15]),
        ("1,000 after a handshake's hello", &hello),
    ] {
        let server = Server::start();
        let (base, _) = server.memory();
        // They are closed after five seconds.
        let open: Vec<_> = (0..SLOW)
            .map(|_| {
                let mut stream = server.connect();
                stream.write_all(part).unwrap();
                stream
            })
            .collect();
        say(what, &server, Some((base, SLOW)));
        drop(open);
    }
}

/// The first message of a handshake of TLS 1.3, as short as can be.
fn hello() -> Vec<u8> {
    let versions = [0, 43, 0, 3, 2, 3, 4];
    let groups = [0, 10, 0, 4, 0, 2, 0, 29];
    let signatures = [0, 13, 0, 4, 0, 2, 4, 3];
    let key = [&[0, 51, 0, 38, 0, 36, 0, 29, 0, 32][..], &[9; 32]].concat();
    let extensions = [&versions[..], &groups, &signatures, &key].concat();
    let (random, suites) = ([7; 32], [0, 0, 2, 0x13, 1, 1, 0]);
    let message = [&[3, 3][..], &random, &suites, &len(&extensions), &extensions].concat();
    let handshake = [&[1, 0][..], &len(&message), &message].concat();
    [&[0x16, 3, 1][..], &len(&handshake), &handshake].concat()
}

fn len(part: &[u8]) -> [u8; 2] {
    u16::try_from(part.len()).unwrap().to_be_bytes()
}

fn say(what: &str, server: &Server, since: Option<(u64, usize)>) -> (u64, u64) {
    let (resident, anonymous) = server.memory();
    let each = since.map_or_else(String::new, |(base, count)| {
        let bytes = resident.saturating_sub(base) * 1024 / u64::try_from(count).unwrap();
        format!(", {bytes} bytes each")
    });
    println!("{what:<40}{resident:>8} KiB resident, {anonymous:>8} KiB anonymous{each}");
    (resident, anonymous)
}
