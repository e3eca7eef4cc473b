"""`tweets redrive | backfill | compliance`: what a person, or the CronJob, does to a running stack.

The commands run where the credentials are: on an operator's machine, or in the producer image as
`python -m operations ...`. Each one that changes something is a dry run without --yes.
"""
