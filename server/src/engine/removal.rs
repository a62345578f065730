//! The files of a job: counted for the plan, removed, looked at again. Every step may be repeated; what counts as removed
//! is what a look afterwards does not find. Blocking.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use app::model::{Category, JobId, Kind, Leftover, PlanItem, ReceiptItem};

use crate::data::DataFolder;

/// Files and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) items: u64,
    pub(super) bytes: u64,
}

/// The categories that are files, with their folders.
fn folders(data: &DataFolder, job: JobId, kind: Kind) -> Vec<(Category, PathBuf)> {
    let mut folders = vec![
        (Category::Inputs, data.inputs(job)),
        (Category::Logs, data.logs(job)),
        (Category::Scratch, data.works(job)),
    ];
    folders.extend(artifact_folders(&data.artifacts(job), kind));
    folders
}

/// The same for artifacts: `<unit>/<folder>` decides, where the kind makes several sorts.
fn artifact_folders(artifacts: &Path, kind: Kind) -> Vec<(Category, PathBuf)> {
    match kind {
        Kind::Files | Kind::Hosts | Kind::OpenaiBatch | Kind::GeminiBatch => {
            vec![(Category::Results, artifacts.to_owned())]
        }
        Kind::ProductMatching => {
            let units = fs::read_dir(artifacts).into_iter().flatten().flatten();
            let folders = units.flat_map(|unit| fs::read_dir(unit.path()).into_iter().flatten().flatten());
            let sorted = folders.map(|folder| (kind.category_of(&folder.file_name().to_string_lossy()), folder.path()));
            sorted.collect()
        }
    }
}

/// What lies in a job's folder, by category.
pub(super) fn count(data: &DataFolder, job: JobId, kind: Kind) -> BTreeMap<Category, Count> {
    count_all(folders(data, job, kind))
}

fn count_all(folders: Vec<(Category, PathBuf)>) -> BTreeMap<Category, Count> {
    let mut counts: BTreeMap<Category, Count> = BTreeMap::new();
    for (category, folder) in folders {
        let below = count_below(&folder);
        let sum = counts.entry(category).or_default();
        sum.items += below.items;
        sum.bytes += below.bytes;
    }
    counts
}

/// Everything below a folder that is not a folder itself. What cannot be read is not counted.
fn count_below(folder: &Path) -> Count {
    let mut total = Count::default();
    let Ok(entries) = fs::read_dir(folder) else { return total };
    for entry in entries.flatten() {
        let Ok(meta) = fs::symlink_metadata(entry.path()) else { continue };
        if meta.is_dir() {
            let below = count_below(&entry.path());
            total.items += below.items;
            total.bytes += below.bytes;
        } else {
            total.items += 1;
            total.bytes += freed_by(&meta);
        }
    }
    total
}

/// Bytes that removing this name frees: none while another job shares the file by a hard link.
fn freed_by(meta: &fs::Metadata) -> u64 {
    if meta.nlink() > 1 { 0 } else { meta.len() }
}

/// Moves the artifacts of a job to where they stay. Safe to repeat.
pub(super) fn keep(data: &DataFolder, job: JobId) -> io::Result<()> {
    let (from, to) = (data.artifacts(job), data.kept(job));
    if !from.exists() {
        return Ok(());
    }
    crate::data::make_folder(&data.root().join("kept"))?;
    if to.exists() {
        // A former try had moved it, and something was written since: that is no artifact any more.
        return Ok(());
    }
    fs::rename(from, to)
}

/// Failures with those elsewhere, for the accounts, and all that is left, for the receipt.
pub(super) fn with_elsewhere(failures: &Failures, elsewhere: &[Leftover]) -> (Failures, Vec<Leftover>) {
    let mut left = leftovers(failures);
    left.extend(elsewhere.iter().cloned());
    let mut failures = failures.clone();
    for leftover in elsewhere.iter().filter(|leftover| leftover.may_go()) {
        if let Leftover::Provider { category, detail, .. } = leftover {
            failures.entry((*category, detail.clone())).or_default().items += 1;
        }
    }
    (failures, left)
}

/// What could not be removed, by category and the system's word.
pub(super) type Failures = BTreeMap<(Category, String), Count>;

/// Removes all files of a job that can be removed, and their folders. Strangers in the job's own folder go as scratch.
pub(super) fn remove(data: &DataFolder, job: JobId, kind: Kind) -> Failures {
    let mut failures = Failures::new();
    let folder = data.job(job);
    let known = folders(data, job, kind);
    for (category, below) in &known {
        remove_below(below, *category, &mut failures);
    }
    if failures.is_empty() {
        remove_below(&folder, Category::Scratch, &mut failures);
        return failures;
    }
    for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
        if known.iter().all(|(_, below)| !below.starts_with(entry.path())) {
            remove_entry(&entry.path(), Category::Scratch, &mut failures);
        }
    }
    failures
}

/// Removes a file, or a folder with what is below it.
fn remove_entry(path: &Path, category: Category, failures: &mut Failures) {
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => remove_below(path, category, failures),
        Ok(meta) => {
            if let Err(error) = fs::remove_file(path)
                && error.kind() != io::ErrorKind::NotFound
            {
                fail(failures, category, &error, freed_by(&meta));
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => fail(failures, category, &error, 0),
    }
}

/// Removes a folder with what is below it. A folder that stays because of a file in it is no failure of its own.
fn remove_below(folder: &Path, category: Category, failures: &mut Failures) {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return,
        Err(error) => return fail(failures, category, &error, 0),
    };
    let before: u64 = failures.values().map(|count| count.items).sum();
    for entry in entries {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => return fail(failures, category, &error, 0),
        };
        remove_entry(&entry.path(), category, failures);
    }
    let after: u64 = failures.values().map(|count| count.items).sum();
    if let Err(error) = fs::remove_dir(folder)
        && error.kind() != io::ErrorKind::NotFound
        && before == after
        && error.kind() != io::ErrorKind::DirectoryNotEmpty
    {
        fail(failures, category, &error, 0);
    }
}

fn fail(failures: &mut Failures, category: Category, error: &io::Error, bytes: u64) {
    let count = failures.entry((category, word_of(error))).or_default();
    count.items += 1;
    count.bytes += bytes;
}

/// The system's word for people, without its number.
fn word_of(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}

/// The lines of a plan: those with something in them.
pub(super) fn plan_items(files: &BTreeMap<Category, Count>, records: u64, keep_files: bool) -> Vec<PlanItem> {
    let line = |category: Category| {
        let count = match category {
            Category::JobData => Count { items: 1, bytes: 0 },
            Category::Records => Count { items: records, bytes: 0 },
            _ if keep_files && category.is_artifact() => Count::default(),
            Category::Inputs
            | Category::Images
            | Category::Frames
            | Category::Matches
            | Category::Results
            | Category::Logs
            | Category::Scratch
            | Category::ProviderBatch
            | Category::ProviderFiles => files.get(&category).copied().unwrap_or_default(),
        };
        PlanItem { category, items: count.items, bytes: count.bytes }
    };
    Category::ALL.into_iter().map(line).filter(|item| item.items > 0).collect()
}

/// The lines of a receipt that begins: planned, and nothing done yet.
pub(super) fn planned(files: &BTreeMap<Category, Count>, records: u64) -> Vec<ReceiptItem> {
    let line = |item: PlanItem| ReceiptItem {
        category: item.category,
        planned: item.items,
        planned_bytes: item.bytes,
        removed: 0,
        removed_bytes: 0,
        kept: 0,
        failed: 0,
        failed_bytes: 0,
    };
    plan_items(files, records, false).into_iter().map(line).collect()
}

/// Brings the lines of a receipt to what a look afterwards found: all that was planned and is not left (or kept) has
/// been removed.
pub(super) fn account(items: &mut Vec<ReceiptItem>, failures: &Failures, kept: &BTreeMap<Category, Count>) {
    let mut left: BTreeMap<Category, Count> = BTreeMap::new();
    for ((category, _), count) in failures {
        let sum = left.entry(*category).or_default();
        sum.items += count.items;
        sum.bytes += count.bytes;
    }
    for (category, _) in left.iter().filter(|(_, count)| count.items > 0) {
        if !items.iter().any(|item| item.category == *category) {
            items.push(empty_line(*category));
        }
    }
    items.sort_by_key(|item| item.category);
    for item in items {
        let failed = left.get(&item.category).copied().unwrap_or_default();
        let kept = kept.get(&item.category).copied().unwrap_or_default();
        item.kept = kept.items;
        item.failed = failed.items;
        item.failed_bytes = failed.bytes;
        // Written after the plan was made, by a run whose stop was never proven.
        item.planned = item.planned.max(kept.items + failed.items);
        item.planned_bytes = item.planned_bytes.max(kept.bytes + failed.bytes);
        item.removed = item.planned - kept.items - failed.items;
        item.removed_bytes = item.planned_bytes - kept.bytes - failed.bytes;
    }
}

fn empty_line(category: Category) -> ReceiptItem {
    ReceiptItem {
        category,
        planned: 0,
        planned_bytes: 0,
        removed: 0,
        removed_bytes: 0,
        kept: 0,
        failed: 0,
        failed_bytes: 0,
    }
}

/// What could not be removed, as a receipt tells it: no names.
pub(super) fn leftovers(failures: &Failures) -> Vec<Leftover> {
    let line = |((category, error), count): (&(Category, String), &Count)| Leftover::Files {
        category: *category,
        items: count.items,
        bytes: count.bytes,
        error: error.clone(),
    };
    failures.iter().map(line).collect()
}

/// What was kept of a job's artifacts.
pub(super) fn count_kept(data: &DataFolder, job: JobId, kind: Kind) -> BTreeMap<Category, Count> {
    count_all(artifact_folders(&data.kept(job), kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job_with_files() -> (tempfile::TempDir, DataFolder, JobId) {
        let folder = tempfile::tempdir().unwrap();
        let data = DataFolder::open(folder.path()).unwrap();
        let job = JobId(7);
        data.make_job(job).unwrap();
        fs::write(data.inputs(job).join("a"), "12345").unwrap();
        fs::create_dir_all(data.unit_artifacts(job, 0).join("deep")).unwrap();
        fs::write(data.unit_artifacts(job, 0).join("deep/r"), "123").unwrap();
        fs::write(data.logs(job).join("x.log"), "1").unwrap();
        (folder, data, job)
    }

    #[test]
    fn a_receipt_says_what_the_plan_said_and_the_folder_is_gone() {
        let (_folder, data, job) = job_with_files();
        let files = count(&data, job, Kind::Files);
        let plan = plan_items(&files, 9, false);
        let mut items = planned(&files, 9);
        let failures = remove(&data, job, Kind::Files);
        account(&mut items, &failures, &BTreeMap::new());
        assert!(failures.is_empty() && !data.job(job).exists());
        assert_eq!(plan.len(), items.len());
        for (plan, item) in plan.iter().zip(&items) {
            assert_eq!((plan.category, plan.items, plan.bytes), (item.category, item.planned, item.planned_bytes));
            assert_eq!((item.removed, item.removed_bytes), (item.planned, item.planned_bytes));
        }
        assert_eq!(files[&Category::Results], Count { items: 1, bytes: 3 });
    }

    #[test]
    fn removing_twice_accounts_as_removing_once() {
        let (_folder, data, job) = job_with_files();
        let mut items = planned(&count(&data, job, Kind::Files), 0);
        assert!(remove(&data, job, Kind::Files).is_empty());
        let again = remove(&data, job, Kind::Files);
        account(&mut items, &again, &BTreeMap::new());
        assert!(items.iter().all(|item| item.removed == item.planned && item.failed == 0));
    }

    #[test]
    fn kept_files_are_neither_removed_nor_failed() {
        let (_folder, data, job) = job_with_files();
        let mut items = planned(&count(&data, job, Kind::Files), 0);
        keep(&data, job).unwrap();
        keep(&data, job).unwrap();
        let failures = remove(&data, job, Kind::Files);
        account(&mut items, &failures, &count_kept(&data, job, Kind::Files));
        let results = items.iter().find(|item| item.category == Category::Results).unwrap();
        assert_eq!((results.planned, results.removed, results.kept), (1, 0, 1));
        assert!(data.kept(job).join("0/deep/r").exists() && !data.job(job).exists());
    }

    #[test]
    fn what_failed_is_told_by_category_and_word() {
        let failures = Failures::from([(
            (Category::Results, "Operation not permitted".to_owned()),
            Count { items: 2, bytes: 10 },
        )]);
        let mut items = planned(&BTreeMap::from([(Category::Results, Count { items: 5, bytes: 50 })]), 0);
        account(&mut items, &failures, &BTreeMap::new());
        let results = items.iter().find(|item| item.category == Category::Results).unwrap();
        assert_eq!((results.planned, results.removed, results.failed, results.failed_bytes), (5, 3, 2, 10));
        assert_eq!(leftovers(&failures).len(), 1);
    }

    #[test]
    fn bytes_that_another_job_shares_are_not_promised() {
        let (folder, data, job) = job_with_files();
        fs::hard_link(data.inputs(job).join("a"), folder.path().join("tmp/shared")).unwrap();
        assert_eq!(count(&data, job, Kind::Files)[&Category::Inputs], Count { items: 1, bytes: 0 });
    }
}
