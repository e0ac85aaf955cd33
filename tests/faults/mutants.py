"""Deliberate bugs: small patches of the product, each with the promise it breaks and the tests that must notice.

`mutations.py` applies them one at a time. A patch that no longer applies, or that survives, is a failure: the first
when the product moved on (write the bug anew where the thing is done now), the second when a test is missing.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """`old` stands exactly once in `file` and is replaced by `new`. tests: the narrowest selection that must fail."""

    name: str
    breaks: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


def _mutant(name: str, breaks: str, file: str, old: str, new: str, *tests: str) -> Mutant:
    return Mutant(name=name, breaks=breaks, file=file, old=old, new=new, tests=tests)


SYNCED = "tests/faults/test_synced.py"

MUTANTS = (
    # -- durable -------------------------------------------------------------------------------------------------------
    _mutant(
        "file-not-synced",
        "what is committed survives a power loss",
        "differ/storage/files.py",
        "    os.fsync(file.fileno())\n",
        "",
        SYNCED,
    ),
    _mutant(
        "folder-not-synced",
        "what is committed survives a power loss",
        "differ/storage/files.py",
        "    os.rename(path, to)\n    sync_folder(to.parent)\n",
        "    os.rename(path, to)\n",
        SYNCED,
    ),
    _mutant(
        "new-folder-not-synced",
        "what is committed survives a power loss",
        "differ/storage/files.py",
        "                sync_folder(folder.parent)\n",
        "                pass\n",
        SYNCED,
    ),
    _mutant(
        "catalog-not-synced",
        "a commit is durable when it returns",
        "differ/catalog/engine.py",
        "PRAGMA synchronous=EXTRA",
        "PRAGMA synchronous=OFF",
        SYNCED,
    ),
    _mutant(
        "failure-after-the-commit-discards",
        "a cycle is atomic: once committed, its files stay",
        "differ/cycle/procedure.py",
        "if self._deciding and (decided",
        "if not self._deciding and (decided",
        "tests/cycle/test_commit_point.py",
    ),
    # -- no lost and no phantom change ---------------------------------------------------------------------------------
    _mutant(
        "last-insert-not-written",
        "replaying the events over the state before gives the state after",
        "differ/diff/changes.py",
        ".write(after=rows)",
        ".write(after=rows.slice(0, rows.num_rows - 1))",
        "tests/cycle/test_properties.py::test_the_state_is_the_fold_of_the_events_is_what_was_read",
    ),
    _mutant(
        "deletes-make-no-event",
        "replaying the events over the state before gives the state after",
        "differ/diff/changes.py",
        'self._segment("delete").write(before=before.filter(pa.array(~is_update)))',
        "pass",
        "tests/cycle/test_properties.py::test_the_state_is_the_fold_of_the_events_is_what_was_read",
    ),
    _mutant(
        "before-image-of-the-new-row",
        "an update carries the row as it was",
        "differ/diff/changes.py",
        ".write(before=before, after=rows, changed=changed)",
        ".write(before=rows if rows.schema == before.schema else before, after=rows, changed=changed)",
        "tests/cycle/test_properties.py::test_the_state_is_the_fold_of_the_events_is_what_was_read",
    ),
    _mutant(
        "last-event-not-served",
        "the relay streams every event",
        "differ/relay/parts.py",
        "part.until + 1 - first",
        "part.until - first",
        "tests/server/test_stream.py::test_any_place_of_any_sources_in_any_form",
    ),
    _mutant(
        "failed-read-is-an-end",
        "a failed scan changes nothing",
        "differ/executors/local.py",
        "            self._put(items, _Failure(error))\n",
        "            self._put(items, _END)\n",
        "tests/cycle/test_broken_iterators.py::test_a_broken_iterator_commits_nothing",
    ),
    _mutant(
        "short-read-is-taken",
        "a failed scan changes nothing",
        "differ/iterators/scan.py",
        "expected is not None and expected != self.rows",
        "expected is not None and expected < self.rows",
        "tests/cycle/test_broken_iterators.py::test_another_number_of_rows_than_expected_commits_nothing",
    ),
    _mutant(
        "known-key-twice",
        "duplicate keys fail the scan",
        "differ/diff/compare.py",
        "again = np.flatnonzero(found.again)",
        "again = np.flatnonzero(found.again)[:0]",
        "tests/cycle/test_broken_iterators.py::test_a_broken_iterator_commits_nothing",
    ),
    _mutant(
        "new-key-twice",
        "duplicate keys fail the scan",
        "differ/snapshots/merge.py",
        "    _check_unique(merged)\n",
        "",
        "tests/cycle/test_broken_iterators.py::test_a_broken_iterator_commits_nothing",
    ),
    _mutant(
        "window-is-half-looked-through",
        "a checkpoint never says more than what was looked through",
        "differ/relay/answer.py",
        "return found[len(chosen)].first_scn - 1 if len(found) > len(chosen) else stream.head_scn",
        "return stream.head_scn",
        "tests/server/test_stream.py::test_the_limit_is_of_events_looked_through",
    ),
    # -- SCNs ----------------------------------------------------------------------------------------------------------
    _mutant(
        "scn-used-again",
        "an SCN is never used again, also when retention let all events go",
        "differ/catalog/commit.py",
        "head, chain = stream.head_scn, stream.chain",
        "head, chain = connection.scalar(select(func.max(tables.windows.c.last_scn))) or 0, stream.chain",
        "tests/relay/test_retention.py::test_when_all_windows_went_by_age_the_stream_goes_on",
    ),
    _mutant(
        "scn-skipped",
        "SCNs ascend by one",
        "differ/catalog/commit.py",
        "        window_first = head + 1\n",
        "        head += 1\n        window_first = head + 1\n",
        "tests/cycle/test_properties.py::test_scns_have_no_gaps_over_several_sources",
    ),
    _mutant(
        "chain-stands-still",
        "a store that was restored from a backup is noticed",
        "differ/catalog/commit.py",
        "chain = chain_hash(stream.stream_id, chain, window_first, head, content)",
        "pass",
        "tests/server/test_cursors.py::test_a_restored_backup_that_went_on_is_another_history",
    ),
    _mutant(
        "chain-not-compared",
        "a store that was restored from a backup is noticed",
        "differ/relay/answer.py",
        "cursor.chain != _digits(standing.chain, scn) or ",
        "",
        "tests/server/test_cursors.py::test_a_restored_backup_that_went_on_is_another_history",
    ),
    _mutant(
        "floor-not-looked-at",
        "nobody reads past a new base without events unknowingly",
        "differ/relay/answer.py",
        "in standing.crossed(sources, None if cursor is None else cursor.floors):",
        "in ():",
        "tests/server/test_cursors.py::test_a_floor_stops_who_follows_its_source_and_nobody_else",
    ),
    # -- one writer ----------------------------------------------------------------------------------------------------
    _mutant(
        "epoch-not-checked",
        "a writer that lost its source commits nothing",
        "differ/catalog/commit.py",
        "if row is None or row.epoch != proposal.epoch:",
        "if row is None:",
        "tests/faults/test_fence.py",
    ),
    _mutant(
        "base-not-checked",
        "a held cycle is committed over the state it was compared with, or not at all",
        "differ/catalog/commit.py",
        "if row.current != proposal.base_cycle:",
        "if False:",
        "tests/faults/test_fence.py",
    ),
    _mutant(
        "lock-not-taken",
        "one writer a source",
        "differ/catalog/locks.py",
        "                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)\n",
        "",
        "tests/catalog/test_processes.py::test_the_second_writer_of_a_source_is_busy",
    ),
    # -- guards --------------------------------------------------------------------------------------------------------
    _mutant(
        "delete-guard-passes",
        "a bad scan never becomes a mass delete",
        "differ/diff/guards.py",
        "if guards.deletes.exceeded(counts.deletes, before):",
        "if False:",
        "tests/cycle/test_guards.py::test_a_limit_holds_what_is_past_it_and_passes_what_is_not",
    ),
    _mutant(
        "emptied-source-passes",
        "a bad scan never becomes a mass delete",
        "differ/diff/guards.py",
        "if had and counts.rows < least:",
        "if False:",
        "tests/cycle/test_guards.py::test_an_emptied_source_is_held_and_an_empty_first_scan_is_not",
    ),
    _mutant(
        "server-in-the-past-passes",
        "a replica that goes back in time is held",
        "differ/diff/guards.py",
        "position.is_before(previous_position)",
        "False",
        "tests/cycle/test_guards.py::test_a_server_that_went_back_in_time_is_held",
    ),
    _mutant(
        "delete-on-first-absence",
        "where a read is not consistent, a delete needs two absences",
        "differ/cycle/ground.py",
        '(mode == "auto" and not consistent)',
        "False",
        "tests/cycle/test_guards.py::test_a_delete_comes_at_once_or_after_two_scans_in_a_row",
    ),
    _mutant(
        "any-held-cycle-is-approved",
        "a person approves what the person saw",
        "differ/cycle/ending.py",
        'if hash is not None and hash != held.result.get("hash"):',
        "if False:",
        "tests/cycle/test_guards.py::test_approving_commits_exactly_the_held_events",
        "tests/cycle/test_guards.py::test_a_later_held_scan_replaces",
        "tests/cli/test_held.py::test_what_was_superseded_is_refused",
    ),
    # -- corruption ----------------------------------------------------------------------------------------------------
    _mutant(
        "segment-served-unverified",
        "corruption is detected and never served",
        "differ/relay/parts.py",
        "path = verify(state, part.segment.file, what)",
        "path = state / part.segment.file.path",
        "tests/server/test_slow_clients.py::test_damage_at_the_beginning_is_an_error",
    ),
    _mutant(
        "segment-read-unverified",
        "corruption is detected and never served",
        "differ/relay/reader.py",
        "record_batches(verify(self._state, entry.file, what), what)",
        "record_batches(self._state / entry.file.path, what)",
        "tests/storage/test_damage.py::test_a_damaged_segment_is_never_served",
    ),
    _mutant(
        "part-read-unverified",
        "corruption is detected and never served",
        "differ/snapshots/parts.py",
        "or verify(self._root, self._parts[number].file, self._what)",
        "or self._root / self._parts[number].file.path",
        "tests/storage/test_damage.py::test_a_damaged_state_fails_the_cycle",
    ),
    _mutant(
        "index-read-unverified",
        "corruption is detected and never served",
        "differ/snapshots/run.py",
        'path = verify(root, file, f"index of {source}")',
        "path = root / file.path",
        "tests/storage/test_damage.py::test_a_damaged_state_fails_the_cycle",
    ),
    _mutant(
        "held-cycle-approved-unverified",
        "corruption is detected and never served",
        "differ/cycle/ending.py",
        "        verify(place.state, segment.file, what)\n",
        "        pass\n",
        "tests/storage/test_damage.py::test_a_damaged_held_cycle_is_not_approved",
    ),
    # -- retention and bootstrap ---------------------------------------------------------------------------------------
    _mutant(
        "retention-ignores-consumers",
        "retention never silently outruns a consumer",
        "differ/relay/retention.py",
        "return min([last_scn, *consumers, *pins])",
        "return min([last_scn, *pins])",
        "tests/relay/test_retention_holds.py::test_a_consumer_holds_what_it_has_not_read",
    ),
    _mutant(
        "retention-ignores-pins",
        "a bootstrap has no gap",
        "differ/relay/retention.py",
        "return min([last_scn, *consumers, *pins])",
        "return min([last_scn, *consumers])",
        "tests/relay/test_retention_processes.py::test_what_a_pin_names_stays_however_much_is_committed_after_it",
    ),
    _mutant(
        "pinned-snapshot-goes",
        "nothing that a pin needs is removed",
        "differ/cycle/place.py",
        "[cycle for cycle in snapshots if cycle not in needed]",
        "snapshots",
        "tests/relay/test_retention_processes.py::test_what_a_pin_names_stays_however_much_is_committed_after_it",
    ),
    _mutant(
        "held-cycle-is-swept",
        "nothing that a held cycle needs is removed",
        "differ/cycle/place.py",
        'if entry.status == "held":\n                files.update(segment.file.path',
        "if False:\n                files.update(segment.file.path",
        "tests/cycle/test_guards.py::test_a_held_cycle_survives_failed_scans_and_a_new_process",
    ),
    _mutant(
        "bootstrap-pins-before-the-head",
        "a bootstrap has no gap: the stream goes on just after the pinned state",
        "differ/catalog/pins.py",
        "        stream = read_stream(connection)\n        cycles =",
        "        stream = read_stream(connection)\n    with catalog.reading() as connection:\n        cycles =",
        "tests/faults/test_bootstrap_moment.py",
    ),
    # -- consumers -----------------------------------------------------------------------------------------------------
    _mutant(
        "checkpoint-before-processing",
        "at least once: nothing is passed by before it was processed",
        "differ/client/loop.py",
        "        left = piece.batch\n",
        "        self._reached = piece.end\n        self._checkpoint(road)\n        left = piece.batch\n",
        "tests/client/test_run.py::test_a_failed_event_comes_again_from_the_last_checkpoint",
    ),
    _mutant(
        "workers-share-a-key",
        "events of a key come in order",
        "differ/client/workers.py",
        'given.batch.events.column("partition")) %',
        'given.batch.events.column("ordinal")).astype(np.uint64) %',
        "tests/client/test_workers.py::test_a_key_stays_with_its_worker_wherever_it_stands_in_a_window",
    ),
    _mutant(
        "given-up-without-a-letter",
        "an event that cannot be processed is never skipped in silence",
        "differ/client/troubles.py",
        "attempts=attempts, letter=True)",
        "attempts=attempts, letter=False)",
        "tests/client/test_failures.py::test_events_that_keep_failing_become_dead_letters",
    ),
    _mutant(
        "stale-token-is-admitted",
        "a member of a group that hung past its lease moves no checkpoint",
        "differ/catalog/groups.py",
        "            admit(name, member, tokens, {found.number: found.token for found in connection.execute(owned)})\n",
        "",
        "tests/catalog/test_groups_store.py::test_a_member_that_hangs_past_its_lease_is_fenced",
    ),
    # -- closed by default ---------------------------------------------------------------------------------------------
    _mutant(
        "token-by-its-beginning",
        "only the whole token gives a right",
        "differ/server/access.py",
        "hmac.compare_digest(secret, token.secret)",
        'token.secret.startswith(secret or b"-")',
        "tests/server/test_access.py::test_each_call_needs_its_right_or_a_higher_one",
    ),
    _mutant(
        "secret-in-an-error",
        "secrets are nowhere",
        "differ/errors.py",
        "text = text.replace(secret, HIDDEN)",
        "text = text.replace(secret, secret)",
        "tests/config/test_references.py",
    ),
)
