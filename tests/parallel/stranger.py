"""Another user of the node, who wants to be a rank of somebody's training: connects to its port, and sends a pickle.

    stranger.py MARKER how, and the number of the port on stdin

how: "guess" takes keys as this package once named them; "list" asks the store for its keys and takes those.
The pickle makes the file MARKER where it is loaded. Prints "joined" when the processes of torch took it in.
"""

import datetime
import pickle
import sys
from pathlib import Path

import torch
import torch.distributed as dist

PATIENCE = {"guess": datetime.timedelta(seconds=5), "list": datetime.timedelta(seconds=15)}


class Touch:
    def __init__(self, marker: str) -> None:
        self.marker = marker

    def __reduce__(self):  # type: ignore[no-untyped-def]
        return Path.touch, (Path(self.marker),)


def main() -> None:
    marker, how = sys.argv[1:]
    patience = PATIENCE[how]
    port = int(sys.stdin.readline())
    store = dist.TCPStore("127.0.0.1", port, timeout=patience, wait_for_workers=False)
    prefix = "attempt-0"
    if how == "list":
        prefix = next(key for key in store.list_keys() if key.endswith("/here-0")).removesuffix("/here-0")
    store = dist.PrefixStore(prefix, store)
    store.set("here-1", store.get("here-0") if how == "list" else "rank 1")
    dist.init_process_group("gloo", store=dist.PrefixStore("group", store), rank=1, world_size=2, timeout=patience)
    print("joined", flush=True)
    payload = torch.frombuffer(bytearray(pickle.dumps(Touch(marker))), dtype=torch.uint8)
    dist.all_gather([torch.empty(40, dtype=torch.uint8) for _ in range(2)], payload[:40])  # a size and what seals it
    sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(2)]
    dist.all_gather(sizes, torch.tensor([len(payload)]))
    dist.all_gather([torch.empty_like(payload) for _ in range(2)], payload)


if __name__ == "__main__":
    main()
