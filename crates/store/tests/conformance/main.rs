//! What every [`MessageStore`](rmq_store::MessageStore) must do, seen through its public door only.
//!
//! The same tests run over a store on the real disk, which works by itself, and over one on
//! `rmq_sim`'s disk, which does nothing until told; each with both ways to flush. Whoever adds
//! another store gives it a [`Ground`](ground::Ground) and a line at the end of this file.

#![cfg(test)]

mod appending;
mod ending;
mod finding;
mod ground;
mod reading;

#[path = "../both/set_clock.rs"]
mod set_clock;

/// The suite over one kind of store.
macro_rules! suite {
    ($name:ident, $ground:ty, $flush:ident) => {
        suite! { $name, $ground, $flush:
            appending::offsets_are_dense_and_records_lie_one_after_the_other,
            appending::a_batch_has_consecutive_offsets_in_its_queue,
            appending::what_is_only_staged_is_seen_by_nobody,
            appending::a_refused_append_takes_nothing_and_blocks_nothing,
            appending::half_and_rolled_back_messages_have_no_place_in_their_queue,
            appending::who_listens_is_told_of_what_can_be_read,
            reading::reads_end_as_apache_says,
            reading::a_read_keeps_within_its_bounds_but_returns_a_message,
            reading::filtered_messages_advance_the_offset,
            reading::what_was_just_stored_is_read_without_waiting,
            finding::an_offset_is_found_by_the_time_of_its_message,
            finding::only_the_start_of_a_record_is_a_message,
            finding::messages_are_found_by_key_unique_id_and_tag,
            finding::a_query_keeps_to_topic_time_and_count,
            ending::a_clean_stop_keeps_everything,
            ending::a_crash_keeps_what_was_acknowledged,
            ending::a_stopped_store_takes_nothing_more,
            ending::a_deleted_topic_begins_anew_and_the_others_stay,
            ending::expired_files_go_from_the_oldest_and_offsets_go_on,
            ending::a_store_tells_where_it_stands,
        }
    };
    ($name:ident, $ground:ty, $flush:ident: $($room:ident::$behaviour:ident,)+) => {
        mod $name {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $behaviour() {
                    let flush = rmq_store::FlushDiskType::$flush;
                    crate::$room::$behaviour(<$ground>::new(flush)).await;
                }
            )+
        }
    };
}

suite! { real_disk_async_flush, crate::ground::RealDisk, Async }
suite! { real_disk_sync_flush, crate::ground::RealDisk, Sync }
suite! { simulated_disk_async_flush, crate::ground::SimulatedDisk, Async }
suite! { simulated_disk_sync_flush, crate::ground::SimulatedDisk, Sync }
