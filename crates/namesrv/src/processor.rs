//! The name server as a [`Processor`]: reads requests, asks or changes the tables, answers.

use std::sync::Arc;
use std::time::Duration;

use rmq_remoting::protocol::cluster::{
    AddWritePerm, AddWritePermResponse, WipeWritePerm, WipeWritePermResponse,
};
use rmq_remoting::protocol::kv::{
    DeleteKv, GetKv, KvResponse, KvTable, ListKv, ORDER_TOPIC_CONFIG, PutKv,
};
use rmq_remoting::protocol::register::{
    BrokerGroupResponse, BrokerHeartbeat, DataVersion, GetBrokerGroup, QueryDataVersion,
    QueryDataVersionResponse, RegisterBroker, RegisterResponse, UnregisterBroker,
};
use rmq_remoting::protocol::route::{GetRoute, TopicRoute};
use rmq_remoting::protocol::topic::{DeleteTopicRoute, RegisterTopic, TopicList, TopicsByCluster};
use rmq_remoting::{
    PayloadError, Peer, Processor, RemotingCommand, Reply, Response, request_code, response_code,
};

use crate::config::ConfigError;
use crate::kv_config::KvError;
use crate::namesrv::{ChangeError, Namesrv};
use crate::register_body;
use crate::registration::{RegisterRules, Registered, Registration};
use crate::route_table::{RouteTable, UnitList, keep_zone};

/// Apache's remark where it says nothing else.
const UNSET: &str = "not set any response code";
/// How long a broker may be silent when it does not say.
const SILENCE: Duration = Duration::from_secs(120);
/// Bounds of what brokers say instead, in milliseconds.
const SILENCE_BOUNDS: (i64, i64) = (1000, 3_600_000);

impl Namesrv {
    fn answer(&self, peer: &Arc<Peer>, request: &RemotingCommand) -> Result<Response, Refusal> {
        match request.code {
            request_code::GET_ROUTEINFO_BY_TOPIC => self.route(request),
            request_code::REGISTER_BROKER => self.register(peer, request),
            request_code::UNREGISTER_BROKER => {
                let header: UnregisterBroker = request.payload()?;
                let change = self.table.write().unregister(
                    &header.cluster_name,
                    &header.broker_name,
                    &header.broker_addr,
                );
                tracing::info!(broker = %header.broker_name, address = %header.broker_addr, "broker left");
                if let Some(change) = change {
                    self.tell_lowest(&change);
                }
                Ok(Response::ok())
            }
            request_code::BROKER_HEARTBEAT => {
                let header: BrokerHeartbeat = request.payload()?;
                self.table.write().heard(&header.cluster_name, &header.broker_addr, self.now());
                Ok(Response::ok())
            }
            request_code::QUERY_DATA_VERSION => self.data_version(request),
            request_code::GET_BROKER_CLUSTER_INFO => {
                Ok(Response::of(&self.table.read().clusters()))
            }
            request_code::GET_BROKER_MEMBER_GROUP => {
                let header: GetBrokerGroup = request.payload()?;
                let group = self.table.read().group(&header.cluster_name, &header.broker_name);
                let answer =
                    Response::of(&BrokerGroupResponse { broker_member_group: Some(group) });
                Ok(answer.with_remark(UNSET))
            }
            request_code::WIPE_WRITE_PERM_OF_BROKER => {
                let header: WipeWritePerm = request.payload()?;
                let count = self.table.write().wipe_write(&header.broker_name);
                Ok(Response::of(&WipeWritePermResponse { wipe_topic_count: int(count) }))
            }
            request_code::ADD_WRITE_PERM_OF_BROKER => {
                let header: AddWritePerm = request.payload()?;
                let count = self.table.write().add_write(&header.broker_name);
                Ok(Response::of(&AddWritePermResponse { add_topic_count: int(count) }))
            }
            _ => self.answer_about_topics(request),
        }
    }

    fn answer_about_topics(&self, request: &RemotingCommand) -> Result<Response, Refusal> {
        match request.code {
            request_code::GET_ALL_TOPIC_LIST_FROM_NAMESERVER => {
                let allowed = self.config.read().enable_all_topic_list;
                listed(allowed, || self.table.read().all_topics())
            }
            request_code::GET_SYSTEM_TOPIC_LIST_FROM_NS => {
                Ok(Response::of(&self.table.read().system_topics()))
            }
            request_code::GET_TOPICS_BY_CLUSTER => {
                let header: TopicsByCluster = request.payload()?;
                self.topic_list(|table| table.topics_of_cluster(&header.cluster))
            }
            request_code::GET_UNIT_TOPIC_LIST => {
                self.topic_list(|table| table.unit_topics(UnitList::Unit))
            }
            request_code::GET_HAS_UNIT_SUB_TOPIC_LIST => {
                self.topic_list(|table| table.unit_topics(UnitList::UnitSub))
            }
            request_code::GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST => {
                self.topic_list(|table| table.unit_topics(UnitList::UnitSubUnunit))
            }
            request_code::DELETE_TOPIC_IN_NAMESRV => {
                let header: DeleteTopicRoute = request.payload()?;
                let cluster = header.cluster_name.as_deref().filter(|name| !name.is_empty());
                self.table.write().delete_topic(&header.topic, cluster);
                Ok(Response::ok())
            }
            request_code::REGISTER_TOPIC_IN_NAMESRV => {
                let (header, route): (RegisterTopic, TopicRoute) = request.payload()?;
                let added = self.table.write().add_topic(&header.topic, route.queue_datas);
                added.map_err(|error| Refusal::failed(error.to_string()))?;
                Ok(Response::ok())
            }
            _ => self.answer_about_settings(request),
        }
    }

    fn answer_about_settings(&self, request: &RemotingCommand) -> Result<Response, Refusal> {
        match request.code {
            request_code::GET_KV_CONFIG => {
                let GetKv { namespace, key } = request.payload()?;
                let value = self.kv.get(&namespace, &key).ok_or_else(|| {
                    Refusal::not_found(format!("No config item, Namespace: {namespace} Key: {key}"))
                })?;
                Ok(Response::of(&KvResponse { value: Some(value) }))
            }
            request_code::GET_KVLIST_BY_NAMESPACE => {
                let ListKv { namespace } = request.payload()?;
                let table = self.kv.list(&namespace).ok_or_else(|| {
                    Refusal::not_found(format!("No config item, Namespace: {namespace}"))
                })?;
                Ok(Response::of(&KvTable { table }))
            }
            request_code::GET_NAMESRV_CONFIG => {
                Ok(Response::ok().with_body(self.config.read().to_lines()))
            }
            code => Ok(Response::not_supported(code)),
        }
    }

    fn route(&self, request: &RemotingCommand) -> Result<Response, Refusal> {
        let header: GetRoute = request.payload()?;
        let (acting_master, ordered) = {
            let config = self.config.read();
            let wait = Duration::from_secs(config.wait_seconds_for_service);
            if config.need_wait_for_service && self.now().since(self.started) < wait {
                return Err(Refusal::failed("name server not ready"));
            }
            (config.support_acting_master, config.order_message_enable)
        };
        let route = self.table.read().route(&header.topic, acting_master);
        let mut route = route.ok_or_else(|| Refusal {
            code: response_code::TOPIC_NOT_EXIST,
            remark: format!(
                "No topic route info in name server for the topic: {}\n\
                 See https://rocketmq.apache.org/docs/bestPractice/06FAQ for further details.",
                header.topic
            ),
        })?;
        if ordered {
            route.order_topic_conf = self.kv.get(ORDER_TOPIC_CONFIG, &header.topic);
        }
        if request.fields.flag("__ZONE_MODE")
            && let Some(zone) = request.field("__ZONE_NAME").filter(|zone| !zone.is_empty())
        {
            keep_zone(&mut route, zone);
        }
        let keys = TopicRoute::keys_for(request.version, &header);
        Ok(Response::ok().with_body(route.to_body(keys)))
    }

    fn register(&self, peer: &Arc<Peer>, request: &RemotingCommand) -> Result<Response, Refusal> {
        let header: RegisterBroker = request.payload()?;
        let topics = register_body::decode(&request.body, header.body_crc32, request.version)
            .map_err(|error| Refusal::failed(error.to_string()))?;
        let (rules, return_ordered) = {
            let config = self.config.read();
            let delete_missing_topics = config.delete_topic_with_broker_registration;
            (RegisterRules { delete_missing_topics }, config.return_order_topic_config_to_broker)
        };
        let registration = Registration {
            cluster: header.cluster_name,
            broker: header.broker_name,
            address: header.broker_addr,
            id: header.broker_id,
            ha_address: header.ha_server_addr,
            zone: header.zone_name,
            timeout: silence(header.heartbeat_timeout_millis),
            acting_master: header.enable_acting_master,
            topics,
            connection: peer.id(),
        };
        let (broker, address) = (registration.broker.clone(), registration.address.clone());
        // Before the table: a connection that closes meanwhile finds both.
        self.brokers.lock().insert(peer.id(), Arc::clone(peer));
        let registered = self.table.write().register(registration, rules, self.now());
        let Registered { is_new, master, lowest } =
            registered.map_err(|error| Refusal::failed(error.to_string()))?;
        if is_new {
            tracing::info!(broker = %broker, address = %address, "broker joined");
        }
        if let Some(change) = lowest {
            self.tell_lowest(&change);
        }
        let (master_addr, ha_server_addr) = master.unzip();
        let ordered = if return_ordered { self.kv.list(ORDER_TOPIC_CONFIG) } else { None };
        let answer = Response::of(&RegisterResponse { ha_server_addr, master_addr });
        Ok(answer.with(&ordered.map(|table| KvTable { table })))
    }

    fn data_version(&self, request: &RemotingCommand) -> Result<Response, Refusal> {
        let header: QueryDataVersion = request.payload()?;
        let asked: Option<DataVersion> = request.payload()?;
        let now = self.now();
        let known = self.table.write().heard(&header.cluster_name, &header.broker_addr, now);
        let changed = asked.is_none() || known != asked;
        Ok(Response::of(&QueryDataVersionResponse { changed }).with(&known))
    }

    fn topic_list(&self, list: impl FnOnce(&RouteTable) -> TopicList) -> Result<Response, Refusal> {
        let allowed = self.config.read().enable_topic_list;
        listed(allowed, || list(&self.table.read()))
    }
}

impl Processor for Namesrv {
    fn process(&self, peer: &Arc<Peer>, request: RemotingCommand) -> Reply {
        let answer = match request.code {
            request_code::PUT_KV_CONFIG => match request.payload::<PutKv>() {
                Ok(PutKv { namespace, key, value }) => {
                    return saved(self.change_kv(move |kv| kv.put(&namespace, &key, &value)));
                }
                Err(error) => Err(error.into()),
            },
            request_code::DELETE_KV_CONFIG => match request.payload::<DeleteKv>() {
                Ok(DeleteKv { namespace, key }) => {
                    return saved(self.change_kv(move |kv| kv.remove(&namespace, &key)));
                }
                Err(error) => Err(error.into()),
            },
            request_code::UPDATE_NAMESRV_CONFIG => {
                return settled(self.change_settings(request.body.clone()));
            }
            _ => self.answer(peer, &request),
        };
        Reply::Now(answer.unwrap_or_else(Response::from))
    }

    fn closed(&self, peer: &Arc<Peer>) {
        self.disconnected(peer);
    }
}

/// An answer that is not success.
struct Refusal {
    code: i32,
    remark: String,
}

impl Refusal {
    fn failed(remark: impl Into<String>) -> Self {
        Self { code: response_code::SYSTEM_ERROR, remark: remark.into() }
    }

    fn not_found(remark: String) -> Self {
        Self { code: response_code::QUERY_NOT_FOUND, remark }
    }
}

impl From<PayloadError> for Refusal {
    fn from(error: PayloadError) -> Self {
        Self::failed(error.to_string())
    }
}

impl From<ConfigError> for Refusal {
    fn from(error: ConfigError) -> Self {
        let code = match error {
            ConfigError::BlackListed | ConfigError::Fixed { .. } => response_code::NO_PERMISSION,
            ConfigError::Value { .. } | ConfigError::Unknown { .. } => {
                response_code::INVALID_PARAMETER
            }
        };
        Self { code, remark: error.to_string() }
    }
}

impl From<Refusal> for Response {
    fn from(refusal: Refusal) -> Self {
        Self::error(refusal.code, refusal.remark)
    }
}

fn settled(
    change: impl Future<Output = Option<Result<(), ChangeError>>> + Send + 'static,
) -> Reply {
    Reply::Later(Box::pin(async move {
        match change.await {
            Some(Ok(())) => Response::ok(),
            Some(Err(ChangeError::Config(error))) => Refusal::from(error).into(),
            Some(Err(error)) => Refusal::failed(error.to_string()).into(),
            None => Refusal::failed("the change could not be saved").into(),
        }
    }))
}

fn saved(change: impl Future<Output = Option<Result<(), KvError>>> + Send + 'static) -> Reply {
    Reply::Later(Box::pin(async move {
        match change.await {
            Some(Ok(())) => Response::ok(),
            Some(Err(error)) => Refusal::failed(error.to_string()).into(),
            None => Refusal::failed("the change could not be saved").into(),
        }
    }))
}

fn listed(allowed: bool, list: impl FnOnce() -> TopicList) -> Result<Response, Refusal> {
    if allowed { Ok(Response::of(&list())) } else { Err(Refusal::failed("disable")) }
}

fn int(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

fn silence(millis: Option<i64>) -> Duration {
    let (least, most) = SILENCE_BOUNDS;
    let millis = millis.filter(|millis| *millis > 0).map(|millis| millis.clamp(least, most));
    millis.and_then(|millis| u64::try_from(millis).ok()).map_or(SILENCE, Duration::from_millis)
}
