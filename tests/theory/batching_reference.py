"""Serving written down literally: a dictionary a request, block after block, every position by name."""

import math


def serve(requests, scheduler, machine):
    """Times, memory and counts, as a dictionary."""
    shop = Shop(requests, scheduler, machine)
    while any(one["end"] is None for one in shop.people):
        here = [one for one in shop.people if one["end"] is None and one not in shop.running]
        come = [one for one in here if one["came"] <= shop.now]
        if not come and not shop.running:
            shop.now = min(one["came"] for one in here)
            continue
        if scheduler.continuous or not shop.running:
            shop.admit(come)
        shop.make_room()
        if shop.running:
            shop.step()
    return {
        **shop.counts, "batches": shop.batches,
        "first": [one["first"] for one in shop.people], "end": [one["end"] for one in shop.people],
    }  # fmt: skip


class Shop:
    """Who is there, who runs, and what time it is."""

    def __init__(self, requests, scheduler, machine):
        self.requests, self.scheduler, self.machine = requests, scheduler, machine
        self.clock, self.top = machine.clock, machine.clock.n_layers - 1
        self.now, self.arm, self.down = 0.0, math.inf, True
        self.running, self.batches = [], []
        names = ("peak", "filled", "steps", "needed", "held", "lost", "again")
        self.counts = dict.fromkeys(names, 0)
        self.people = [self.person(i) for i in range(len(requests))]

    def person(self, i):
        asked, one = self.requests, self.scheduler
        truth = {"depth": asked.depth, "length": asked.length}
        told = {"depth": asked.predicted_depth, "length": asked.predicted_length}
        source = truth if one.knows else told
        room = {"most": self.machine.most, "as needed": 1}.get(one.reserve)
        if room is None:
            room = min(max(math.ceil(source["length"][i]), 1), self.machine.most)
        key = 0.0 if one.order == "arrival" else float(source[one.order][i])
        return {"id": i, "came": float(asked.arrival[i]), "text": 0, "room": room, "key": key,
                "cache": [], "first": None, "end": None, "set": 0}  # fmt: skip

    def free(self):
        return self.machine.memory - sum(one["set"] for one in self.running)

    def look(self):
        self.counts["peak"] = max(self.counts["peak"], self.machine.memory - self.free())
        held = sum(len(one["cache"]) for one in self.running)
        self.counts["filled"] = max(self.counts["filled"], held)

    def tokens(self, rows):
        for one in rows:
            one["text"] += 1
            if one["first"] is None:
                one["first"] = self.now
            if one["text"] == len(self.requests.exits[one["id"]]):
                one["end"] = self.now
        self.running = [one for one in self.running if one["end"] is None]

    def next_of(self, waiting):
        """Down: keys up to the arm's; up: keys from it on; at an end it turns."""
        for _ in range(2):
            sign = -1 if self.down else 1
            ahead = [one for one in waiting if sign * one["key"] >= sign * self.arm]
            if ahead:
                break
            self.down = not self.down
        return min(ahead, key=lambda one: (sign * one["key"], one["came"], one["id"]))

    def admit(self, waiting):
        new = []
        while waiting and len(self.running) < self.machine.rows:
            best = self.next_of(waiting)
            want = int(self.requests.prompt[best["id"]]) + best["room"] - 1
            if want > self.free():
                break
            best["set"], self.arm = want, best["key"]
            waiting.remove(best)
            self.running.append(best)
            new.append(best)
        if not new:
            return
        self.batches.append(tuple(one["id"] for one in new))
        self.now += self.clock.prompts
        for one in new:
            positions = int(self.requests.prompt[one["id"]]) + one["text"]
            if one["text"]:
                self.counts["again"] += positions
            elif self.scheduler.predicts:
                self.now += self.clock.looking * positions
            # Each position has keys and values in every block: none is owed.
            one["cache"] = [self.top] * positions
            for own in range(1, positions + 1):
                self.now += self.clock.position + self.clock.pair[self.top] * own
            self.now += self.clock.answer
        self.look()
        self.tokens(new)

    def make_room(self):
        at = 0
        while at < len(self.running):
            one = self.running[at]
            if len(one["cache"]) < one["set"]:
                at += 1
            elif self.free() > 0:
                one["set"] += 1
            else:
                gone = self.running.pop()
                gone["set"], gone["cache"] = 0, []
                gone["room"] = min(self.machine.most, max(gone["room"], 2 * gone["text"]))
                self.counts["lost"] += 1

    def step(self):
        left = [int(self.requests.exits[one["id"]][one["text"]]) for one in self.running]
        self.now += self.clock.once[max(left)]
        for one, layer in zip(self.running, left, strict=True):
            for block in range(1, layer + 1):
                owed = [p for p, there in enumerate(one["cache"]) if there < block]
                self.now += self.clock.kv[block] * len(owed)
                for position in owed:
                    assert one["cache"][position] == block - 1, "a block was left out"
                    one["cache"][position] = block
            one["cache"].append(layer)
            self.now += self.clock.row[layer] + self.clock.pair[layer] * len(one["cache"])
        self.counts["steps"] += 1
        self.counts["needed"] += sum(layer + 1 for layer in left)
        self.counts["held"] += len(left) * (max(left) + 1)
        self.look()
        self.tokens(list(self.running))
