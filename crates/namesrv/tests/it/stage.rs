//! A name server on a free port, and those who call it.

use std::sync::Arc;
use std::time::Duration;

use rmq_namesrv::{Namesrv, NamesrvConfig};
use rmq_remoting::{
    Client, ClientConfig, Endpoint, HeaderEncoding, Invoker as _, Peer, Processor, RemotingCommand,
    Reply, Server, ServerHandle,
};
use rmq_runtime::{ClockExt as _, Tasks, World};
use tokio::sync::mpsc;

const PATIENCE: Duration = Duration::from_secs(10);

/// A name server with a caller of its own.
pub(crate) struct Stage {
    world: World,
    tasks: Tasks,
    server: ServerHandle,
    tool: Caller,
    /// The same with binary headers.
    binary_tool: Caller,
}

/// A client with one connection, which ends when it is dropped.
pub(crate) struct Caller {
    world: World,
    tasks: Tasks,
    client: Arc<Client>,
    to: Endpoint,
    heard: mpsc::Receiver<Option<RemotingCommand>>,
}

/// Hands on what the server tells, and the end of the connection as `None`.
struct Ear(mpsc::Sender<Option<RemotingCommand>>);

impl Processor for Ear {
    fn process(&self, _peer: &Arc<Peer>, request: RemotingCommand) -> Reply {
        self.0.try_send(Some(request)).unwrap();
        Reply::None
    }

    fn closed(&self, _peer: &Arc<Peer>) {
        drop(self.0.try_send(None));
    }
}

impl Stage {
    pub(crate) async fn start(config: NamesrvConfig) -> Self {
        let (world, tasks) = (World::system(), Tasks::new("test"));
        let namesrv = Namesrv::start(world.clone(), &tasks, config).unwrap();
        let server = Server::builder(world.clone(), &tasks).processor(namesrv);
        let server = server.start().await.unwrap();
        let caller = |encoding| Caller::new(&world, &tasks, &server, encoding);
        let (tool, binary_tool) = (caller(HeaderEncoding::Json), caller(HeaderEncoding::Binary));
        Self { world, tasks, server, tool, binary_tool }
    }

    pub(crate) fn connect(&self) -> Caller {
        Caller::new(&self.world, &self.tasks, &self.server, HeaderEncoding::Json)
    }

    pub(crate) async fn ask(&self, request: RemotingCommand) -> RemotingCommand {
        let tool = match request.encoding {
            HeaderEncoding::Json => &self.tool,
            HeaderEncoding::Binary => &self.binary_tool,
        };
        tool.ask(request).await
    }

    /// Asks until the answer has that code.
    pub(crate) async fn eventually(&self, request: RemotingCommand, code: i32) {
        let asked = async {
            while self.ask(request.clone()).await.code != code {
                self.world.clock.sleep(Duration::from_millis(10)).await;
            }
        };
        self.world.clock.timeout(PATIENCE, asked).await.unwrap();
    }
}

impl Caller {
    fn new(world: &World, tasks: &Tasks, server: &ServerHandle, encoding: HeaderEncoding) -> Self {
        let (ear, heard) = mpsc::channel(16);
        let tasks = tasks.child("caller");
        let config = ClientConfig { encoding, ..ClientConfig::default() };
        let client = Client::new(world.clone(), &tasks, config, Arc::new(Ear(ear)));
        let to = server.local_addr().into();
        Self { world: world.clone(), tasks, client, to, heard }
    }

    pub(crate) async fn ask(&self, mut request: RemotingCommand) -> RemotingCommand {
        request.opaque = 0;
        self.client.invoke(&self.to, request, PATIENCE).await.unwrap()
    }

    /// The next request that the server sends.
    pub(crate) async fn told(&mut self) -> RemotingCommand {
        self.next().await.expect("the connection ended")
    }

    /// Waits until the server has closed the connection.
    pub(crate) async fn ended(&mut self) {
        assert!(self.next().await.is_none());
    }

    async fn next(&mut self) -> Option<RemotingCommand> {
        self.world.clock.timeout(PATIENCE, self.heard.recv()).await.unwrap().unwrap()
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        self.client.disconnect(&self.to);
        self.tasks.request_stop();
    }
}
