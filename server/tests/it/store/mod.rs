//! What every store must do: one suite, written against [`Store`], held against each implementation.
//!
//! A claim is a function of a fresh store. [`suite!`] turns them all into tests of one implementation; another one
//! needs a factory and a line here.

/// Makes a test of each claim, for the store that `$fixture` (an async function) gives.
macro_rules! suite {
    ($fixture:ident) => {
        crate::store::suite!(@ $fixture life:
            a_job_goes_from_pending_through_its_phase_to_its_end,
            what_was_submitted_reads_back_byte_for_byte,
            an_unknown_job_is_none_and_its_lists_are_empty,
            a_known_idempotency_key_gives_the_first_job_and_stores_nothing,
            a_kind_with_several_phases_goes_through_them_in_order,
            a_stopped_run_of_a_job_that_is_not_cancelled_has_failed,
            a_result_keeps_exit_code_error_and_artifacts,
            what_a_page_could_show_moves_the_counter_and_a_heartbeat_does_not,
            latest_units_are_those_begun_last,
            units_are_paged_by_index_and_filtered_by_status,
            units_are_told_by_their_end_and_by_their_stop,
            a_large_job_is_stored_whole,
        );
        crate::store::suite!(@ $fixture claims:
            a_claim_never_exceeds_parallel,
            a_claim_never_exceeds_max,
            a_job_of_many_units_does_not_starve_one_of_three,
            the_job_with_the_fewest_running_units_is_served_first,
            a_result_of_another_worker_is_fenced,
            a_heartbeat_renews_the_leases_of_its_worker_only,
            a_lost_run_is_no_longer_its_workers_and_its_result_is_fenced,
            three_losses_fail_a_unit,
            a_run_handed_back_is_no_loss,
            a_run_released_without_proof_is_told_as_unconfirmed_until_proof_comes,
            a_predecessors_open_runs_are_found_by_instance,
            a_worker_that_is_not_registered_gets_nothing,
        );
        crate::store::suite!(@ $fixture cancels:
            a_cancel_without_open_runs_ends_the_job_at_once,
            a_cancel_waits_for_the_proof_of_every_open_run,
            a_unit_that_got_a_signal_is_cancelled_whatever_it_returned,
            a_job_whose_units_had_all_succeeded_ends_completed,
            a_job_cancelled_between_two_phases_is_not_completed,
            without_proof_the_run_stays_open_and_the_job_waits,
            a_lost_run_keeps_its_job_cancelling_until_it_is_released_with_proof,
            a_repeated_cancel_keeps_the_first_and_may_add_force,
            what_is_over_cannot_be_cancelled_and_says_so,
            giving_up_ends_the_job_with_what_is_unproven_visible,
            a_run_that_failed_without_proof_is_in_doubt_until_late_proof_changes_its_evidence,
            late_proof_moves_unconfirmed_to_stopped_and_no_phase,
            evidence_for_a_unit_that_is_over_by_itself_changes_nothing,
            unswept_units_read_like_swept_ones,
            sweeping_touches_only_cancelled_jobs,
        );
        crate::store::suite!(@ $fixture deletes:
            only_what_is_over_can_be_deleted,
            a_job_goes_in_steps_and_leaves_a_receipt,
            finishing_a_delete_takes_what_the_steps_left,
            a_deleting_job_is_shown_and_can_do_nothing_else,
            the_first_note_of_a_delete_wins_and_ends_with_its_beginning,
            what_is_needed_to_ask_again_outlives_the_job,
            receipts_and_audit_are_paged_newest_first,
        );
        crate::store::suite!(@ $fixture batches:
            a_batch_is_only_claimed_in_its_own_lane,
            an_update_of_a_batch_is_guarded_by_its_version,
            a_providers_batch_is_one_jobs_and_its_owner_is_known_for_ever,
            a_run_is_taken_over_as_it_is_and_its_former_worker_is_fenced,
            the_phase_moves_on_with_the_running_unit,
            a_batch_that_finished_although_it_was_cancelled_ends_completed,
            a_batch_that_finished_in_part_although_it_was_cancelled_ends_partial,
            a_batch_is_adopted_by_one_job,
            a_waiting_unit_with_a_batch_elsewhere_is_not_never_started,
        );
        crate::store::suite!(@ $fixture bulks:
            a_selection_is_what_the_list_shows_at_most_the_limit,
            a_selection_by_age_is_what_had_ended_before,
            a_bulk_counts_its_results_and_ends_when_nothing_is_left,
            an_abort_takes_what_is_pending_and_nothing_else,
            many_cancels_in_one_transaction_are_as_one_by_one,
            a_known_key_gives_the_first_bulk_and_stores_nothing,
        );
        crate::store::suite!(@ $fixture lists:
            every_order_and_filter_pages_through_exactly_its_jobs,
            the_last_page_has_no_cursor,
            a_job_is_found_by_parts_of_its_name_and_id_without_case,
            a_made_up_cursor_or_one_of_another_order_is_refused,
            a_page_goes_on_where_it_ended_although_jobs_come_and_go,
            counts_per_phase_are_those_of_the_jobs,
        );
        crate::store::suite!(@ $fixture sign_in:
            a_sign_in_link_works_once_and_in_time,
            a_session_lives_until_it_expires_or_is_ended,
            a_token_is_known_until_it_is_revoked_and_its_sessions_end_with_it,
        );
        crate::store::suite!(@ $fixture races:
            counters_phases_and_summaries_hold_in_every_order_of_events,
            many_workers_never_get_the_same_unit,
            of_many_concurrent_ends_exactly_one_happens,
        );
    };
    (@ $fixture:ident $claims:ident: $($claim:ident),+ $(,)?) => {
        mod $claims {
            $(#[tokio::test]
            async fn $claim() {
                crate::store::$claims::$claim(super::$fixture().await).await;
            })+
        }
    };
}
pub(crate) use suite;

mod batches;
mod bulks;
mod cancels;
mod claims;
mod deletes;
pub(crate) mod fixture;
mod life;
mod lists;
mod races;
mod sign_in;
mod sqlite;
