"""The upscale job over many machines: the journal's segments as work for Ray actors.

    plan.py            what each segment is made from, found by one pass over the source that makes no picture
    segment_source.py  the source on a worker, and the frames of one segment
    worker.py          renders one segment after another; independent of Ray
    pool.py            joins a Ray cluster; starts and replaces actors, and gives them work
    open_job.py        one file: its plan, open segments, retries and finished output
    scheduler.py       all files of one call

The driver reads the source, keeps the journal and joins the output; workers compute. Ray is imported when a cluster is
joined.
"""

from safa.cluster.pool import WorkerShape as WorkerShape
from safa.cluster.scheduler import ClusterSettings as ClusterSettings
from safa.cluster.scheduler import upscale_on_cluster as upscale_on_cluster
