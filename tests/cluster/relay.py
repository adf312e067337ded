"""A link with delay, for kernels without netem: relay.py SECONDS NAME NAME makes two tap devices, and
what is sent into one comes out of the other so much later. A tap's frames carry whole checksums and
are no longer than a packet, which those of a veth link need not be."""
import collections
import fcntl
import os
import select
import struct
import sys
import time

TUNSETIFF = 0x400454CA
IFF_TAP, IFF_NO_PI = 0x0002, 0x1000
FRAME = 65536
LONGEST = 20000  # frames under way; more are lost, as in any switch


def tap(name):
    end = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(end, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI))
    return end


def take(end, queue, due):
    """All frames that wait at `end`, as (when they are due, frame)."""
    try:
        while True:
            frame = os.read(end, FRAME)
            if len(queue) < LONGEST:
                queue.append((due, frame))
    except BlockingIOError:
        pass


def give(end, queue, now):
    while queue and queue[0][0] <= now:
        try:
            os.write(end, queue.popleft()[1])
        except OSError:
            pass  # the device is down, or moves to its node: lost, as on a wire


def main(delay, *names):
    ends = [tap(name) for name in names]
    queues = [collections.deque(), collections.deque()]
    print("ready", flush=True)
    while True:
        first = min((queue[0][0] for queue in queues if queue), default=None)
        wait = None if first is None else max(0.0, first - time.monotonic())
        ready, _, _ = select.select(ends, [], [], wait)
        now = time.monotonic()
        for end in ready:
            try:
                take(end, queues[ends.index(end)], now + delay)
            except OSError:
                time.sleep(0.01)  # the device is down
        give(ends[1], queues[0], now)
        give(ends[0], queues[1], now)


if __name__ == "__main__":
    main(float(sys.argv[1]), *sys.argv[2:])
