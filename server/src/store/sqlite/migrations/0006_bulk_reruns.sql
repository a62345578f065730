-- The job that a rerun of many made of this one.
ALTER TABLE bulk_items ADD COLUMN new_job_id BLOB;
