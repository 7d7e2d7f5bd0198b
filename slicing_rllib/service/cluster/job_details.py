"""What Ray knows about a job, as an exit code and as JSON."""

import json

from ray.job_submission import JobDetails, JobStatus


def compute_exit_code(details: JobDetails) -> int:
    """Exit code of a job that has ended, as a shell reports it.

    0 for success, 130 for a job that was stopped, 128 + n for one that signal n ended, else the
    driver's own code.
    """
    if details.status == JobStatus.SUCCEEDED:
        return 0
    if details.status == JobStatus.STOPPED:
        return 130
    code = details.driver_exit_code or 1
    return code if code > 0 else 128 - code


def format_details(details: JobDetails) -> str:
    """The state of a job as indented JSON. `exit_code` is null until the job has ended."""
    return json.dumps(
        {
            "submission_id": details.submission_id,
            "status": str(details.status),
            "message": details.message,
            "exit_code": compute_exit_code(details) if details.status.is_terminal() else None,
        },
        indent=2,
    )
