//! Name servers by a plain HTTP question, for clients that were told a domain instead of addresses.
//!
//! `GET http://<domain>:8080/rocketmq/<subgroup>[-<unit>?nofix=1]` answers with `host:port` separated
//! by `;` (Apache RocketMQ 5.5, `DefaultTopAddressing`).

use std::io;
use std::time::Duration;

use rmq_remoting::invoker::Endpoint;
use rmq_runtime::{ClockExt, World};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{ClientConfig, ClientError, config};

/// Time limit of one question.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Port of a domain that names none.
const PORT: u16 = 8080;
/// Longest answer that is read.
const ANSWER_MAX: u64 = 64 * 1024;

/// Where to ask.
#[doc(alias = "DefaultTopAddressing")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AddressServer {
    host: String,
    path: String,
}

impl AddressServer {
    /// The one of the settings, if they name a domain.
    pub(crate) fn of(config: &ClientConfig) -> Option<Self> {
        let domain = config.namesrv_domain.as_deref().filter(|domain| !domain.trim().is_empty())?;
        let host =
            if domain.contains(':') { domain.to_owned() } else { format!("{domain}:{PORT}") };
        let group = &config.namesrv_domain_subgroup;
        let unit = config.unit_name.as_deref().filter(|unit| !unit.trim().is_empty());
        let path = match unit {
            Some(unit) => format!("/rocketmq/{group}-{unit}?nofix=1"),
            None => format!("/rocketmq/{group}"),
        };
        Some(Self { host, path })
    }

    /// The name servers, in the order of the answer.
    ///
    /// # Errors
    /// [`ClientError::AddressServer`].
    pub(crate) async fn fetch(&self, world: &World) -> Result<Vec<Endpoint>, ClientError> {
        let late = || Err(io::Error::from(io::ErrorKind::TimedOut));
        let answer = world.clock.timeout(TIMEOUT, self.ask(world)).await;
        let found = answer.unwrap_or_else(|_| late()).and_then(|text| read(&text));
        found.map_err(|source| ClientError::AddressServer {
            url: format!("http://{}{}", self.host, self.path),
            source,
        })
    }

    async fn ask(&self, world: &World) -> io::Result<String> {
        let addresses = world.net.resolve(&self.host).await?;
        let nobody = || io::Error::new(io::ErrorKind::NotFound, "the domain has no address");
        let to = addresses.first().copied().ok_or_else(nobody)?;
        let mut stream = world.net.connect(to).await?;
        let (path, host) = (&self.path, &self.host);
        // The older protocol: its answers end with the connection and come in one piece.
        let question = format!("GET {path} HTTP/1.0\r\nHost: {host}\r\nAccept: */*\r\n\r\n");
        stream.write_all(question.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(ANSWER_MAX).read_to_end(&mut answer).await?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }
}

/// The addresses of an answer.
fn read(answer: &str) -> io::Result<Vec<Endpoint>> {
    let wrong = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
    let (head, body) =
        answer.split_once("\r\n\r\n").ok_or_else(|| wrong("the answer is no HTTP".to_owned()))?;
    let status = head.lines().next().unwrap_or_default();
    if status.split(' ').nth(1) != Some("200") {
        return Err(wrong(format!("it answered `{status}`")));
    }
    let texts = config::split_addresses(body);
    if texts.is_empty() {
        return Err(wrong("it names no name server".to_owned()));
    }
    texts
        .iter()
        .map(|text| text.parse().map_err(|_| wrong(format!("`{text}` is no host:port"))))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rmq_runtime::{Clock, Listener, Tasks};

    use super::*;
    use crate::ClientInstance;
    use crate::testing::{HandClock, settle};

    #[test]
    fn the_question_is_that_of_java() {
        let of = |domain: &str, unit: Option<&str>| {
            let config = ClientConfig {
                namesrv_domain: Some(domain.into()),
                unit_name: unit.map(Into::into),
                ..ClientConfig::default()
            };
            AddressServer::of(&config).map(|server| format!("{}{}", server.host, server.path))
        };
        assert_eq!(of("ns.example", None).as_deref(), Some("ns.example:8080/rocketmq/nsaddr"));
        assert_eq!(of("ns.example:80", None).as_deref(), Some("ns.example:80/rocketmq/nsaddr"));
        let with_unit = of("ns.example", Some("east"));
        assert_eq!(with_unit.as_deref(), Some("ns.example:8080/rocketmq/nsaddr-east?nofix=1"));
        assert_eq!(of(" ", None), None);
        assert_eq!(AddressServer::of(&ClientConfig::default()), None);
    }

    #[test]
    fn answers_that_say_nothing_are_errors_with_a_reason() {
        let said = |answer: &str| read(answer).map_err(|error| error.to_string());
        let good = said("HTTP/1.1 200 OK\r\nA: b\r\n\r\n10.0.0.1:9876;10.0.0.2:9876\n").unwrap();
        assert_eq!(
            good.iter().map(Endpoint::as_str).collect::<Vec<_>>(),
            ["10.0.0.1:9876", "10.0.0.2:9876"]
        );
        assert!(said("HTTP/1.1 404 Not Found\r\n\r\n").unwrap_err().contains("404"));
        assert!(said("HTTP/1.1 200 OK\r\n\r\n \n").unwrap_err().contains("no name server"));
        assert!(said("HTTP/1.1 200 OK\r\n\r\nnonsense").unwrap_err().contains("nonsense"));
        assert!(said("nonsense").unwrap_err().contains("no HTTP"));
    }

    /// A world whose clock is moved by hand, and a listener in it.
    async fn by_hand() -> (World, Arc<HandClock>, Box<dyn Listener>) {
        let clock = Arc::<HandClock>::default();
        let world = World { clock: Arc::clone(&clock) as Arc<dyn Clock>, ..World::system() };
        let listener = world.net.listen("127.0.0.1:0".parse().unwrap(), false).await.unwrap();
        (world, clock, listener)
    }

    async fn in_time<T>(what: impl Future<Output = T> + Send) -> T {
        World::system().clock.timeout(Duration::from_secs(20), what).await.expect("it comes")
    }

    /// Answers the next question.
    async fn tell(listener: &mut dyn Listener, name_server: &str) {
        let mut stream = in_time(listener.accept()).await.unwrap();
        let mut asked = [0; 512];
        assert!(stream.read(&mut asked).await.unwrap() > 0);
        let answer = format!("HTTP/1.0 200 OK\r\n\r\n{name_server}");
        stream.write_all(answer.as_bytes()).await.unwrap();
    }

    #[tokio::test]
    async fn the_address_server_is_asked_again_after_ten_seconds_and_every_two_minutes() {
        let (world, clock, mut listener) = by_hand().await;
        let config = ClientConfig {
            namesrv_domain: Some(listener.local_addr().to_string()),
            ..ClientConfig::default()
        };
        let start = ClientInstance::start(world, config, false);
        let (instance, ()) = tokio::join!(start, tell(&mut *listener, "old:9876"));
        let instance = instance.unwrap();
        for (name_server, seconds) in [("new:9876", 11), ("newer:9876", 121)] {
            clock.advance(Duration::from_secs(seconds)).await;
            tell(&mut *listener, name_server).await;
            in_time(async {
                while instance.name_servers()[0].as_str() != name_server {
                    tokio::task::yield_now().await;
                }
            })
            .await;
            settle().await;
        }
    }

    #[tokio::test]
    async fn a_client_with_addresses_never_asks_an_address_server() {
        let (world, clock, mut listener) = by_hand().await;
        let at = listener.local_addr();
        let config =
            ClientConfig { namesrv_domain: Some(at.to_string()), ..ClientConfig::new("own:9876") };
        let start = ClientInstance::start(world.clone(), config, false);
        let instance = in_time(start).await.unwrap();
        clock.advance(Duration::from_secs(300)).await;
        let mine = world.net.connect(at).await.unwrap();
        let first = in_time(listener.accept()).await.unwrap();
        assert_eq!(first.remote_addr(), mine.local_addr(), "nobody came before");
        assert_eq!(instance.name_servers()[0].as_str(), "own:9876");
    }

    #[tokio::test]
    async fn a_client_that_knows_a_domain_only_finds_its_name_servers() {
        let (world, tasks) = (World::system(), Tasks::new("test"));
        let mut listener = world.net.listen("127.0.0.1:0".parse().unwrap(), false).await.unwrap();
        let at = listener.local_addr();
        tasks.spawn("address server", rmq_runtime::OnFailure::Log, async move {
            let mut stream = listener.accept().await.unwrap();
            let mut asked = [0; 512];
            let count = stream.read(&mut asked).await.unwrap();
            let asked = String::from_utf8_lossy(&asked[..count]).into_owned();
            assert!(asked.starts_with("GET /rocketmq/nsaddr HTTP/1.0\r\n"), "{asked}");
            stream.write_all(b"HTTP/1.0 200 OK\r\n\r\n10.9.8.7:9876\n").await.unwrap();
        });
        let config =
            ClientConfig { namesrv_domain: Some(at.to_string()), ..ClientConfig::default() };
        let instance = ClientInstance::start(world.clone(), config, false).await.unwrap();
        assert_eq!(instance.name_servers()[0].as_str(), "10.9.8.7:9876");
        instance.shutdown(TIMEOUT).await;

        let nobody =
            ClientConfig { namesrv_domain: Some(at.to_string()), ..ClientConfig::default() };
        let error = ClientInstance::start(world, nobody, false).await.unwrap_err();
        assert!(error.to_string().contains(&format!("http://{at}/rocketmq/nsaddr")), "{error}");
        assert_eq!(error.kind(), crate::ErrorKind::Retry);
    }
}
