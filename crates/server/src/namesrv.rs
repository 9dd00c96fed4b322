//! The name server as a program: listens, and stops.

use std::net::SocketAddr;
use std::sync::Arc;

use rmq_namesrv::{Namesrv, NamesrvConfig};
use rmq_remoting::Server;
use rmq_remoting::tls::ServerTls;
use rmq_runtime::{Tasks, World};

use crate::running::{Running, StartError, listen};

/// Starts a name server on the runtime of the caller.
///
/// # Errors
/// [`StartError`].
pub async fn start_namesrv(
    world: &World,
    config: NamesrvConfig,
    tls: &ServerTls,
) -> Result<Running, StartError> {
    let tasks = Tasks::new("namesrv");
    let acceptor = tls.acceptor(world)?;
    let at = SocketAddr::new(config.bind_address, config.listen_port);
    let namesrv = Namesrv::start(world.clone(), &tasks, config)?;
    let server = Server::builder(world.clone(), &tasks).listen(at).processor(namesrv).tls(acceptor);
    let server = listen("the name server", at, server).await?;
    let addr = server.local_addr();
    let (clock, all) = (Arc::clone(&world.clock), tasks.clone());
    Ok(Running {
        addr,
        tasks,
        lines: vec![format!("name server listens on {addr}")],
        end: Box::new(move |grace| {
            Box::pin(async move {
                server.drain(grace).await;
                all.stop(&*clock, grace).await
            })
        }),
    })
}
