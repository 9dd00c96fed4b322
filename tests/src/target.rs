//! A cluster of processes that is given what no honest client sends, while another client uses it.

use std::net::SocketAddr;

use anyhow::{Result, ensure};

use crate::client::Client;
use crate::cluster::Cluster;
use crate::wait::WORLD;
use crate::wire::{Frame, Wire};

/// Topic of the honest client.
pub const TOPIC: &str = "Steady";

/// A cluster under attack, and a client that uses it all the while.
#[derive(Debug)]
pub struct Target {
    /// Its cluster.
    pub cluster: Cluster,
    /// The client.
    pub client: Client,
    /// Messages that must be stored.
    pub sent: usize,
    /// Who is given what no honest client sends: the broker, unless the test says else.
    pub victim: SocketAddr,
}

impl Target {
    /// Starts a broker of its own.
    ///
    /// # Errors
    /// It does not start or serve.
    pub async fn start() -> Result<Self> {
        let mut cluster = Cluster::builder().start_processes().await?;
        cluster.expect_alive()?;
        let client = Client::connect(&cluster.namesrv()).await?;
        let victim = cluster.broker(0);
        let mut target = Self { cluster, client, sent: 0, victim };
        target.still_serves().await?;
        Ok(target)
    }

    /// A connection of its own.
    ///
    /// # Errors
    /// The victim does not take it.
    pub async fn dial(&self) -> Result<Wire> {
        Wire::connect(self.victim).await
    }

    /// The cluster lives and takes messages, and has just those that were sent to it.
    ///
    /// # Errors
    /// It does not.
    pub async fn still_serves(&mut self) -> Result<()> {
        self.cluster.expect_alive()?;
        self.client.send(TOPIC, format!("steady {}", self.sent)).await?;
        self.sent += 1;
        let stored = self.client.contents(TOPIC).await?;
        let count: usize = stored.values().map(Vec::len).sum();
        ensure!(count == self.sent, "{} messages were sent, {count} are stored", self.sent);
        Ok(())
    }

    /// Writes bytes on a connection of their own; what comes back until the victim closes it.
    ///
    /// # Errors
    /// The victim does not close it, or answers with what is no frame.
    pub async fn throw(&self, bytes: &[u8]) -> Result<Vec<Frame>> {
        let mut wire = self.dial().await?;
        wire.write(bytes).await;
        wire.finish().await;
        wire.read_to_end().await
    }

    /// Looks once more, and stops it.
    ///
    /// # Errors
    /// It does not serve, or does not stop.
    pub async fn stop(mut self) -> Result<()> {
        self.still_serves().await?;
        self.client.shutdown().await;
        // Whoever comes now finds everything, too.
        self.client = Client::connect(&self.cluster.namesrv()).await?;
        self.still_serves().await?;
        self.client.shutdown().await;
        self.cluster.stop().await
    }

    /// Asks on a connection that is kept while the victim keeps it; none when it hangs up.
    ///
    /// # Errors
    /// The victim does neither answer nor hang up.
    pub async fn provoke(
        &self,
        wire: &mut Option<Wire>,
        code: i32,
        fields: &[(&str, String)],
        body: &[u8],
    ) -> Result<Option<Frame>> {
        let mut open = match wire.take() {
            Some(open) => open,
            None => self.dial().await?,
        };
        let answer = open.ask(code, fields, body).await?;
        if answer.is_some() {
            *wire = Some(open);
        }
        Ok(answer)
    }
}

/// Bytes without a meaning.
pub fn noise(len: usize) -> Vec<u8> {
    std::iter::repeat_with(|| WORLD.entropy.next_u64().to_be_bytes()).flatten().take(len).collect()
}
