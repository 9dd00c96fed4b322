//! Clients over real connections, which note what the broker asks of them.

use std::sync::Arc;

use rmq_message::MessageQueue;
use rmq_remoting::{
    Client, ClientConfig, Endpoint, Invoker, Peer, Processor, RemotingCommand, Reply, Response,
    Server, ServerHandle, TypedRequest, request_code,
};
use tokio::sync::mpsc;

use crate::fixture::{Fixture, WAIT, soon};

/// A client that notes what the broker asks of it, and answers.
struct Heard(mpsc::Sender<RemotingCommand>);

impl Processor for Heard {
    fn process(&self, _peer: &Arc<Peer>, request: RemotingCommand) -> Reply {
        let code = request.code;
        self.0.try_send(request).unwrap();
        match code {
            request_code::GET_CONSUMER_STATUS_FROM_CLIENT => {
                let mut status = rmq_remoting::protocol::client::ConsumerStatus::default();
                status.message_queue_table.insert(MessageQueue::new("T", "broker-a", 0), 7);
                Reply::Now(Response::of(&status))
            }
            _ => Reply::Now(Response::ok().with_body("I am fine")),
        }
    }
}

pub(crate) struct Remote {
    pub(crate) client: Arc<Client>,
    pub(crate) to: Endpoint,
    /// Accepts for as long as it is held.
    _server: Arc<ServerHandle>,
    pub(crate) heard: mpsc::Receiver<RemotingCommand>,
}

impl Remote {
    pub(crate) async fn call<R: TypedRequest>(&self, request: &R) -> R::Response {
        let answer = self.client.invoke(&self.to, request.to_command(), WAIT).await.unwrap();
        assert_eq!(answer.code, 0, "{:?}", answer.remark);
        answer.payload().unwrap()
    }

    /// The next thing the broker asks, told by its code and group.
    pub(crate) async fn hears(&mut self) -> (i32, String) {
        let heard = soon(self.heard.recv()).await.unwrap();
        let group = heard.field("consumerGroup").or(heard.field("group")).unwrap_or_default();
        (heard.code, group.to_owned())
    }
}

pub(crate) async fn remotes<const N: usize>(fixture: &Fixture) -> [Remote; N] {
    let server = Server::builder(fixture.world.clone(), &fixture.tasks)
        .processor(Arc::clone(&fixture.broker) as _)
        .start()
        .await
        .unwrap();
    let server = Arc::new(server);
    let to: Endpoint = server.local_addr().into();
    std::array::from_fn(|_| {
        let (tx, heard) = mpsc::channel(100);
        let client = Client::new(
            fixture.world.clone(),
            &fixture.tasks,
            ClientConfig::default(),
            Arc::new(Heard(tx)),
        );
        Remote { client, to: to.clone(), _server: Arc::clone(&server), heard }
    })
}
