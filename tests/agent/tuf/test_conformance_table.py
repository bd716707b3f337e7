"""theupdateframework/tuf-conformance's cases (as of its commit eec841c), and where our client is put to each.

The package is not on PyPI; the list is rebuilt from its repository and the specification, the tests are our own.

case                                              -> test
test_basic_refresh_requests -> test_a_first_refresh_asks_for_each_role_once_and_keeps_what_was_served
test_basic_refresh_trusted_data -> test_a_first_refresh_asks_for_each_role_once_and_keeps_what_was_served
test_metadata_bytes_match -> test_a_first_refresh_asks_for_each_role_once_and_keeps_what_was_served
test_implicit_refresh -> test_a_look_up_refreshes_first
test_invalid_initial_root -> test_a_pinned_root_that_is_not_signed_or_not_whole_is_refused_before_anything_is_asked
test_unsigned_initial_root -> test_a_pinned_root_that_is_not_signed_or_not_whole_is_refused_before_anything_is_asked
test_unsigned_metadata -> test_a_role_that_is_not_signed_by_its_key_is_refused
test_url_and_metadata_version_mismatch -> test_a_file_whose_version_is_not_the_one_it_is_named_by_is_refused
test_timestamp_content_changes -> test_a_timestamp_changed_without_a_new_version_is_not_taken
test_basic_metadata_hash_support -> test_hashes_of_metadata_are_followed
test_targets_hash_mismatch -> test_metadata_with_other_bytes_than_were_hashed_is_refused
test_snapshot_hash_mismatch -> test_metadata_with_other_bytes_than_were_hashed_is_refused
test_custom_fields -> test_unknown_fields_and_misleading_ones_are_carried_and_ignored
test_deprecated_keyid_hash_algorithms -> test_unknown_fields_and_misleading_ones_are_carried_and_ignored
test_snapshot_404 -> test_a_role_that_is_missing_stops_the_refresh
test_targets_404 -> test_a_role_that_is_missing_stops_the_refresh
test_timestamp_404 -> test_a_role_that_is_missing_stops_the_refresh
test_incorrect_metadata_type -> test_a_role_in_the_place_of_another_is_refused
test_faketime -> test_a_clock_in_2030_is_named_as_suspect_raises_no_floor_and_mends_by_itself
test_root_expired -> test_expired_metadata_is_refused_and_mends_when_it_is_signed_again
test_timestamp_expired -> test_expired_metadata_is_refused_and_mends_when_it_is_signed_again
test_snapshot_expired -> test_expired_metadata_is_refused_and_mends_when_it_is_signed_again
test_targets_expired -> test_expired_metadata_is_refused_and_mends_when_it_is_signed_again
test_expired_local_root -> test_a_station_that_was_off_until_its_metadata_expired_comes_back
test_expired_local_timestamp -> test_a_station_that_was_off_until_its_metadata_expired_comes_back
test_snapshot_does_not_meet_threshold -> test_a_role_needs_its_threshold_of_its_own_keys
test_snapshot_has_too_few_keys -> test_a_role_with_fewer_keys_than_its_threshold_is_never_taken
test_duplicate_keys -> test_a_key_id_listed_twice_counts_once
test_duplicate_keys (one key, two ids) -> test_one_key_under_two_ids_does_not_count_twice
test_duplicate_sig_keyids -> test_signatures_with_one_key_id_twice_are_refused_even_with_the_threshold_met
test_keytype_and_scheme (Ed25519 alone is ours) -> test_a_key_of_another_type_than_it_says_verifies_nothing
test_invalid_sig_in_valid_metadata -> test_an_invalid_signature_beside_enough_valid_ones_does_no_harm
test_unusual_role_name -> test_an_unusual_role_name_is_quoted_wherever_it_goes
test_new_timestamp_version_rollback -> test_a_timestamp_that_goes_backwards_is_refused
test_snapshot_rollback -> test_a_snapshot_that_goes_backwards_is_refused
test_targets_rollback -> test_targets_that_go_backwards_are_refused
test_targets_role_removal -> test_a_role_that_vanishes_from_the_snapshot_is_refused
test_targets_fast_forward_recovery -> test_targets_start_anew_when_only_the_snapshot_key_is_new
test_new_snapshot_fast_forward_recovery -> test_versions_run_far_ahead_by_stolen_keys_start_anew_under_new_ones
test_new_timestamp_fast_forward_recovery -> test_versions_run_far_ahead_by_stolen_keys_start_anew_under_new_ones
test_graph_traversal -> test_delegated_roles_are_searched_depth_first_in_order_and_each_once
test_targetfile_search -> test_the_first_role_that_lists_a_file_wins_and_a_role_outside_its_paths_does_not_count
test_cached_role_is_verified_against_current_delegator -> test_a_cached_role_is_verified_against_the_one_that_delegates_to_it_now
test_delegation_not_in_snapshot -> test_a_delegated_role_that_is_not_in_the_snapshot_is_refused
test_root_rotation -> test_a_root_is_taken_only_with_the_thresholds_of_the_old_and_the_new_one
test_non_root_rotations -> test_a_role_needs_its_threshold_of_its_own_keys
test_static_repository (our own) -> test_an_update_under_way_when_the_clock_leaps_to_2030_waits_and_goes_on_when_it_is_right
test_download_with_unknown_hash_algorithm -> test_a_target_with_an_unknown_hash_only_is_refused

Beyond its list:
freeze -> test_a_frozen_repository_is_refused_once_it_expires_and_not_before
mix and match -> test_a_part_of_an_older_state_beside_newer_ones_is_refused
root hidden again -> test_a_root_that_is_hidden_again_is_refused
root chain with a gap -> test_roots_are_taken_one_by_one_and_a_gap_ends_the_chain
root of a wrong version, another role as root -> test_a_root_of_the_wrong_version_or_that_is_none_is_refused
expired root on the way -> test_an_expired_root_on_the_way_to_a_valid_one_is_passed_through
root by a stranger -> test_a_root_by_a_stranger_is_never_taken
a key added is no rotation -> test_a_key_that_is_only_added_does_not_let_an_older_state_in
stolen online keys against a rotation -> test_a_thief_of_the_online_keys_cannot_hide_the_rotation_that_revoked_them
unknown specification, malformed fields -> test_signed_metadata_with_an_unknown_specification_or_a_malformed_field_is_refused
no metadata at all -> test_a_file_that_is_no_metadata_is_refused
metadata of a wrong length -> test_metadata_of_another_length_than_was_signed_is_refused
target listed with a swapped hash -> test_a_bundle_that_is_listed_as_something_else_is_refused
no consistent snapshots -> test_without_consistent_snapshots_plain_names_are_asked_for
unusual target names -> test_an_unusual_target_name_is_looked_up_as_it_is
local cache -> test_a_second_refresh_of_the_same_repository_fetches_only_what_may_have_changed
no writes outside -> test_nothing_is_written_outside_the_cache
endless data -> test_endless_data_is_dropped_at_the_most_that_the_role_may_have
slow drip -> test_a_server_that_drips_is_cut_off

The cases of test_file_download.py (a target's bytes: substituted, changed often, other hash algorithms, cached) are about a file
that this client never fetches: `agent/slots/download.py` does, and `tests/agent/slots/test_download.py` holds it to the digest.
"""

from __future__ import annotations

import re
from pathlib import Path

ROWS = [line.split("->") for line in (__doc__ or "").splitlines() if "-> test_" in line]


def test_every_test_that_the_table_names_is_there() -> None:
    sources = "".join(path.read_text() for path in Path(__file__).parent.glob("test_tuf_*.py"))
    named, there = {test.strip() for _, test in ROWS}, set(re.findall(r"^def (test_\w+)\(", sources, re.MULTILINE))
    assert len(ROWS) > 60 and named - there == set()
