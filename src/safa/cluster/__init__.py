"""The upscale job over many machines: the journal's segments as work for Ray actors.

    plan.py      what a segment is made from, found by one pass over the source without synthesising
    excerpt.py   the source frames of one segment, read on a worker and compared with the plan's checksums
    inputs.py    the source on a worker: by path where it is visible, else shipped
    worker.py    renders one segment after another; knows nothing of Ray
    connect.py   joins a Ray cluster, or starts one
    pool.py      starts and replaces Ray actors, and gives them work
    film.py      one file: planning, its open segments, tries, the finished output
    job.py       all files of one call
    run.py       the call

The driver reads the source, keeps the journal and joins the output; workers compute. Nothing here imports Ray before
a cluster is asked for.
"""

from safa.cluster.job import Listeners as Listeners
from safa.cluster.pool import WorkerShape as WorkerShape
from safa.cluster.run import ClusterSettings as ClusterSettings
from safa.cluster.run import upscale_on_cluster as upscale_on_cluster
