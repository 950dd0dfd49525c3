"""What the built-in job types do, one file a type; their data is described in `shared.job_types`."""
