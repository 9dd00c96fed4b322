//! What users may add to every request that leaves a client: signatures, namespaces, measurement.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rmq_message::CompactString;
use rmq_remoting::command::RemotingCommand;
use rmq_remoting::invoker::{Endpoint, InvokeError, Invoker};

use crate::ClientConfig;

/// Sees each request before it leaves, and what became of it.
///
/// ```
/// use rmq_client_core::protocol::{Endpoint, RemotingCommand};
/// use rmq_client_core::RequestHook;
///
/// struct Stamp;
/// impl RequestHook for Stamp {
///     fn before(&self, _to: &Endpoint, request: &mut RemotingCommand) {
///         request.fields.push("caller", "billing");
///     }
/// }
/// ```
#[doc(alias = "RPCHook")]
pub trait RequestHook: Send + Sync + 'static {
    /// May change the request. Called in the order in which hooks were given.
    #[doc(alias = "doBeforeRequest")]
    fn before(&self, to: &Endpoint, request: &mut RemotingCommand);

    /// Sees the answer; a request without an answer that was handed over has `Ok(None)`.
    #[doc(alias = "doAfterResponse")]
    fn after(
        &self,
        _to: &Endpoint,
        _request: &RemotingCommand,
        _answer: Result<Option<&RemotingCommand>, &InvokeError>,
    ) {
    }
}

/// Hooks in front of a way to servers.
struct Hooked {
    invoker: Arc<dyn Invoker>,
    hooks: Vec<Arc<dyn RequestHook>>,
}

/// The way to servers past these hooks.
pub(crate) fn hooked(
    invoker: Arc<dyn Invoker>,
    hooks: Vec<Arc<dyn RequestHook>>,
) -> Arc<dyn Invoker> {
    if hooks.is_empty() { invoker } else { Arc::new(Hooked { invoker, hooks }) }
}

impl Hooked {
    fn before(&self, to: &Endpoint, mut request: RemotingCommand) -> RemotingCommand {
        self.hooks.iter().for_each(|hook| hook.before(to, &mut request));
        request
    }
}

#[async_trait]
impl Invoker for Hooked {
    async fn invoke(
        &self,
        to: &Endpoint,
        request: RemotingCommand,
        timeout: Duration,
    ) -> Result<RemotingCommand, InvokeError> {
        let request = self.before(to, request);
        let answer = self.invoker.invoke(to, request.clone(), timeout).await;
        let seen = answer.as_ref().map(Some);
        self.hooks.iter().for_each(|hook| hook.after(to, &request, seen));
        answer
    }

    async fn oneway(
        &self,
        to: &Endpoint,
        request: RemotingCommand,
        timeout: Duration,
    ) -> Result<(), InvokeError> {
        let request = self.before(to, request);
        let sent = self.invoker.oneway(to, request.clone(), timeout).await;
        let seen = sent.as_ref().map(|()| None);
        self.hooks.iter().for_each(|hook| hook.after(to, &request, seen));
        sent
    }

    fn disconnect(&self, to: &Endpoint) {
        self.invoker.disconnect(to);
    }
}

/// Names stay as they are, and every request says to which namespace they belong.
pub(crate) struct NamespaceHook(pub(crate) CompactString);

impl RequestHook for NamespaceHook {
    fn before(&self, _to: &Endpoint, request: &mut RemotingCommand) {
        request.fields.push("nsd", "true");
        request.fields.push("ns", self.0.as_str());
    }
}

/// Every request says in which zone it is made, and whether routes are to keep to it.
pub(crate) struct ZoneHook {
    pub(crate) zone: CompactString,
    pub(crate) keeps_to_it: bool,
}

impl RequestHook for ZoneHook {
    fn before(&self, _to: &Endpoint, request: &mut RemotingCommand) {
        request.fields.push("__ZONE_NAME", self.zone.as_str());
        if self.keeps_to_it {
            request.fields.push("__ZONE_MODE", "true");
        }
    }
}

/// What the settings add to every request.
pub(crate) fn hooks_of(config: &ClientConfig) -> Vec<Arc<dyn RequestHook>> {
    let mut hooks: Vec<Arc<dyn RequestHook>> = Vec::new();
    if let Some(name) = &config.namespace_v2 {
        hooks.push(Arc::new(NamespaceHook(name.into())));
    }
    if let Some(zone) = &config.zone_name {
        hooks.push(Arc::new(ZoneHook { zone: zone.into(), keeps_to_it: config.zone_mode }));
    }
    hooks
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;
    use rmq_remoting::request_code;

    use super::*;
    use crate::testing::{A0, Stage};

    #[derive(Default)]
    struct Notes(Mutex<Vec<String>>);

    impl RequestHook for Notes {
        fn before(&self, to: &Endpoint, request: &mut RemotingCommand) {
            request.fields.push("seen", "yes");
            self.0.lock().push(format!("{} to {to}", request.code));
        }

        fn after(
            &self,
            _: &Endpoint,
            request: &RemotingCommand,
            answer: Result<Option<&RemotingCommand>, &InvokeError>,
        ) {
            assert_eq!(request.field("seen"), Some("yes"));
            self.0.lock().push(format!("{:?}", answer.map(|a| a.map(|a| a.code)).is_ok()));
        }
    }

    #[tokio::test]
    async fn a_hook_sees_every_request_and_what_became_of_it() {
        let notes = Arc::new(Notes::default());
        let stage = Stage::hooked(|_| {}, vec![Arc::clone(&notes) as _]);
        stage.instance.refresh_route("T").await.unwrap();
        let queue = rmq_message::MessageQueue::new("T", "broker-a", 0);
        stage.instance.brokers().min_offset(&queue).await.unwrap_err();
        stage.cluster.down.lock().insert(A0.into());
        stage.instance.brokers().min_offset(&queue).await.unwrap_err();
        let notes = notes.0.lock();
        let asked = format!("{} to {A0}", request_code::GET_MIN_OFFSET);
        let after: Vec<_> = notes.iter().skip_while(|note| **note != asked).collect();
        assert_eq!(
            after,
            [&asked, "true", &asked, "false"]
                .map(|text| text.to_owned())
                .iter()
                .collect::<Vec<_>>()
        );
        assert!(notes[0].starts_with("105 to ns"), "{notes:?}");
    }

    /// Writes its name into each request.
    struct Named(&'static str, Arc<Mutex<Vec<String>>>);

    impl RequestHook for Named {
        fn before(&self, _: &Endpoint, request: &mut RemotingCommand) {
            let place = request.fields.iter().count().to_string();
            request.fields.push(self.0, &place);
        }

        fn after(
            &self,
            _: &Endpoint,
            request: &RemotingCommand,
            answer: Result<Option<&RemotingCommand>, &InvokeError>,
        ) {
            if request.is_oneway() {
                self.1.lock().push(format!("{} {:?}", self.0, answer.map(|it| it.is_some()).ok()));
            }
        }
    }

    #[tokio::test]
    async fn hooks_see_requests_without_an_answer_too_and_in_their_order() {
        let notes = Arc::<Mutex<Vec<String>>>::default();
        let hooks = ["first", "second"].map(|name| Arc::new(Named(name, Arc::clone(&notes))) as _);
        let stage = Stage::hooked(|_| {}, hooks.into());
        let queue = rmq_message::MessageQueue::new("T", "broker-a", 0);
        let offset = rmq_message::QueueOffset(5);
        stage.instance.brokers().update_offset("g", &queue, offset).await.unwrap();
        let request = stage.cluster.last(request_code::UPDATE_CONSUMER_OFFSET).unwrap();
        let place = |name| request.field(name).unwrap().parse::<usize>().unwrap();
        assert_eq!(place("first") + 1, place("second"));
        assert_eq!(*notes.lock(), ["first Some(false)", "second Some(false)"]);
    }

    #[tokio::test]
    async fn the_second_kind_of_namespace_rides_on_every_request() {
        let stage = Stage::new(|config| config.namespace_v2 = Some("tenant".into()));
        stage.instance.refresh_route("T").await.unwrap();
        let request = stage.cluster.last(request_code::GET_ROUTEINFO_BY_TOPIC).unwrap();
        assert_eq!((request.field("nsd"), request.field("ns")), (Some("true"), Some("tenant")));
        assert_eq!(request.field("topic"), Some("T"));
    }

    #[tokio::test]
    async fn the_zone_rides_on_every_request() {
        for (keeps_to_it, mode) in [(false, None), (true, Some("true"))] {
            let stage = Stage::new(|config| {
                config.zone_name = Some("east".into());
                config.zone_mode = keeps_to_it;
            });
            stage.instance.refresh_route("T").await.unwrap();
            let request = stage.cluster.last(request_code::GET_ROUTEINFO_BY_TOPIC).unwrap();
            assert_eq!(request.field("__ZONE_NAME"), Some("east"));
            assert_eq!(request.field("__ZONE_MODE"), mode);
        }
    }
}
