//! Settings of the clusters of tests: small files, short waits, everything below one folder.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::Result;

use crate::cluster::Cluster;

/// How a cluster is to be.
#[derive(Clone, Debug)]
pub struct ClusterBuilder {
    brokers: usize,
    lines: Vec<(String, String)>,
}

impl Default for ClusterBuilder {
    fn default() -> Self {
        Self { brokers: 1, lines: Vec::new() }
    }
}

impl ClusterBuilder {
    /// How many brokers.
    #[must_use]
    pub fn brokers(mut self, count: usize) -> Self {
        self.brokers = count;
        self
    }

    /// A further line of every `broker.conf`.
    #[must_use]
    pub fn set(mut self, key: &str, value: impl ToString) -> Self {
        self.lines.push((key.to_owned(), value.to_string()));
        self
    }

    /// Starts it in this process.
    ///
    /// # Errors
    /// Something does not start.
    pub async fn start(self) -> Result<Cluster> {
        Cluster::start(&self, false).await
    }

    /// Starts it as processes, which can be killed.
    ///
    /// # Errors
    /// Something does not start, or is not ready in time.
    pub async fn start_processes(self) -> Result<Cluster> {
        Cluster::start(&self, true).await
    }

    /// `broker-a`, `broker-b`, …
    pub(crate) fn broker_names(&self) -> Vec<String> {
        ('a'..='z').take(self.brokers).map(|letter| format!("broker-{letter}")).collect()
    }

    /// The `broker.conf` of one of them.
    pub(crate) fn broker_conf(
        &self,
        name: &str,
        address: SocketAddr,
        name_server: SocketAddr,
        dir: &Path,
    ) -> String {
        let port = address.port();
        let mut text = format!(
            "brokerClusterName=DefaultCluster\nbrokerName={name}\nbrokerId=0\nlistenPort={port}\n\
             brokerIP1=127.0.0.1\nnamesrvAddr={name_server}\nstorePathRootDir={}\n\
             autoCreateTopicEnable=true\nmappedFileSizeCommitLog=16777216\n",
            dir.join("store").display()
        );
        for (key, value) in &self.lines {
            text.push_str(&format!("{key}={value}\n"));
        }
        text
    }

    /// The configuration of the name server.
    pub(crate) fn name_server_conf(address: SocketAddr, dir: &Path) -> String {
        format!(
            "listenPort={}\nbindAddress=127.0.0.1\nkvConfigPath={}\n",
            address.port(),
            dir.join("kvConfig.json").display()
        )
    }
}
