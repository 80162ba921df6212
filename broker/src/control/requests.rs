//! Carries out what shards ask the control thread for.
//!
//! Control thread. Requests run side by side, but for those of one topic name, one partition or one
//! coordinator slot, which keep their order.

use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use coord::keys::plan;
use coord::keys::producer_block::{self, ProducerBlockRecord};
use coord::keys::seen;
use store::local::{VolumeSpace, volume_space};
use tokio::sync::Semaphore;

use super::acls::AclsMsg;
use super::catalog::Catalog;
use super::commit::CommitError;
use super::context::Context;
use super::handle::{ControlMsg, TopicError};
use super::keeper::ProofRequest;
use super::loads::{load_run, load_spans};
use super::log_start::raise_log_start;
use super::reassign::{reassign, under_way};
use super::slots::Slots;
use super::time_index::time_block;
use super::unpack::Unpacker;
use super::users::UsersMsg;
use super::{acls, broker_configs, missing, quarantine, quotas, users};
use crate::config::Mode;

/// Requests carried out at a time; more wait in the channel, and then with their senders.
const AT_ONCE: usize = 1_024;
/// Tries of a block of producer ids.
const BLOCK_TRIES_MAX: usize = 8;

/// What serves requests.
#[derive(Clone)]
pub struct Requests {
    /// What all share.
    pub context: Rc<Context>,
    /// The topics.
    pub catalog: Rc<Catalog>,
    /// The coordinator slots.
    pub slots: Rc<Slots>,
    /// Asks for a proof of our session.
    pub prove: flume::Sender<ProofRequest>,
}

impl Requests {
    /// Serves until the shards have gone.
    pub async fn serve(self, requests: flume::Receiver<ControlMsg>) {
        let permits = Arc::new(Semaphore::new(AT_ONCE));
        let unpacker = Unpacker::new(self.context.config.unpack_bytes());
        while let Ok(request) = requests.recv_async().await {
            // The order of a slot is that of its requests: no task in between.
            if let ControlMsg::PersistGroups(slot, write, reply) = request {
                self.slots.persist(slot, write, reply);
                continue;
            }
            // A connection has one of these at a time, and they wait for threads, not for a store.
            if let ControlMsg::Unpack(unpack, reply) = request {
                let unpacker = unpacker.clone();
                tokio::task::spawn_local(async move {
                    // A panic inside fails that batch: the answer never comes.
                    if let Some(done) = unpacker.unpack(unpack).await {
                        drop(reply.send(done));
                    }
                });
                continue;
            }
            let Ok(permit) = permits.clone().acquire_owned().await else {
                return;
            };
            let this = self.clone();
            // A panic inside fails that request: its answer never comes, and the shard is told.
            tokio::task::spawn_local(async move {
                this.on_request(request).await;
                drop(permit);
            });
        }
    }

    async fn on_request(&self, request: ControlMsg) {
        let (context, catalog) = (&self.context, &self.catalog);
        let objects = &context.objects;
        // Whoever asked may have gone: then nobody wants the answer.
        match request {
            ControlMsg::LoadRun {
                key,
                range,
                told,
                room,
                reply,
            } => {
                let loaded = load_run(objects, &key, range, &told).await;
                drop(reply.send(loaded.map(|run| Arc::new(run.held(room)))));
            }
            ControlMsg::LoadSpans {
                index_key,
                key,
                bytes,
                reply,
            } => {
                drop(reply.send(load_spans(objects, &index_key, &key, bytes).await));
            }
            ControlMsg::TimeBlock {
                id,
                base,
                target,
                from,
                reply,
            } => {
                drop(reply.send(time_block(context, id, base, target, from).await));
            }
            ControlMsg::LookInto(id, key, reply) => {
                let found = missing::look_into(context, id, &key).await;
                let _ = reply.send(found);
            }
            ControlMsg::Examine(id, key, reply) => {
                let found = quarantine::examine(context, id, &key).await;
                let _ = reply.send(found);
            }
            ControlMsg::CreateTopic(new, reply) => drop(reply.send(catalog.create(new).await)),
            ControlMsg::DeleteTopic(id, reply) => drop(reply.send(catalog.delete(id).await)),
            ControlMsg::CreatePartitions(id, count, reply) => {
                drop(reply.send(catalog.create_partitions(id, count).await));
            }
            ControlMsg::AlterConfig(id, config, reply) => {
                drop(reply.send(catalog.alter_config(id, config).await));
            }
            ControlMsg::AlterBrokerConfig(change, reply) => {
                drop(reply.send(broker_configs::alter(context, catalog, change).await));
            }
            // Without an answer the session counts as not proven.
            ControlMsg::Prove(reply) => drop(self.prove.try_send(reply)),
            ControlMsg::ProducerBlock(reply) => drop(reply.send(producer_block(context).await)),
            ControlMsg::Reassign(wanted, reply) => {
                drop(reply.send(reassign(context, catalog, wanted).await));
            }
            ControlMsg::Reassignments(reply) => drop(reply.send(under_way(context))),
            quotas @ (ControlMsg::Quotas(_)
            | ControlMsg::AlterQuotas { .. }
            | ControlMsg::Limits(..)) => self.on_quotas(quotas).await,
            ControlMsg::Users(UsersMsg::Alter(changes, reply)) => {
                drop(reply.send(users::alter(context, changes).await));
            }
            ControlMsg::Acls(message) => self.on_acls(message).await,
            ControlMsg::Users(UsersMsg::CheckPassword(message, reply)) => {
                context.users.check_password(message, reply);
            }
            ControlMsg::Users(UsersMsg::CheckToken(token, reply)) => {
                if let Some(tokens) = context.users.security().tokens() {
                    tokens.check(token, reply);
                }
            }
            ControlMsg::Volume(reply) => drop(reply.send(volume(context).await)),
            ControlMsg::RaiseLogStart(id, to, reply) => {
                drop(reply.send(raise_log_start(context, id, to).await));
            }
            ControlMsg::PersistGroups(..) | ControlMsg::Unpack(..) => {
                unreachable!("these have a way of their own")
            }
        }
    }

    async fn on_acls(&self, request: AclsMsg) {
        let context = &self.context;
        match request {
            AclsMsg::Create(rules, by, reply) => {
                drop(reply.send(acls::create(context, &rules, &by).await));
            }
            AclsMsg::Delete(filters, reply) => {
                drop(reply.send(acls::delete(context, &filters).await));
            }
            AclsMsg::Find(filter, reply) => drop(reply.send(context.acls.find(&filter))),
        }
    }

    async fn on_quotas(&self, request: ControlMsg) {
        let context = &self.context;
        match request {
            ControlMsg::Quotas(reply) => drop(reply.send(context.quotas.all())),
            ControlMsg::AlterQuotas {
                changes,
                validate_only,
                reply,
            } => {
                drop(reply.send(quotas::alter(context, changes, validate_only).await));
            }
            ControlMsg::Limits(user, client, reply) => {
                let found = (
                    context.quotas.limits(&user, &client),
                    context.quotas.request_max(),
                );
                let _ = reply.send(found);
            }
            _ => unreachable!("only what is about quotas comes here"),
        }
    }
}

/// The volume of the data directory, where there is one that can be looked at.
async fn volume(context: &Context) -> Option<VolumeSpace> {
    if context.config.mode() == Mode::Cluster {
        return None;
    }
    let directory = context.config.log.data_dir.clone();
    let looked = super::pool::run(move || volume_space(&directory));
    looked.await.ok()?.ok()
}

/// Takes a block of producer ids, above every id that was ever seen. A block whose transaction has
/// an unknown outcome is not used: another is taken.
async fn producer_block(context: &Context) -> Result<Range<i64>, TopicError> {
    let unavailable = |error: CommitError| TopicError::Unavailable(error.to_string());
    let Context {
        kv, space, session, ..
    } = context;
    let key = producer_block::key(space);
    for _ in 0..BLOCK_TRIES_MAX {
        let counter = kv
            .get(key.clone())
            .await
            .map_err(|error| unavailable(error.into()))?;
        let counter = seen::<ProducerBlockRecord>(counter.as_ref());
        let counter = counter.map_err(|error| unavailable(error.into()))?;
        let at_least = context.producer_floor.get();
        let planned = plan::take_producer_block(space, session.id, counter.as_ref(), at_least);
        let (planned, block) = planned.map_err(|error| unavailable(error.into()))?;
        match kv.txn(planned.txn).await {
            Ok(reply) if reply.succeeded => return Ok(block.first.get()..block.end.get()),
            Ok(_) => {}
            Err(error) if error.is_ambiguous() || error.is_retriable() => {}
            Err(error) => return Err(unavailable(error.into())),
        }
    }
    Err(TopicError::Unavailable(
        "no block of producer ids could be taken".to_owned(),
    ))
}
