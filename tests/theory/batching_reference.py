"""Serving written down literally: a dictionary a request, block after block, every position by name."""

import math


def serve(requests, scheduler, machine):
    """Times, memory and counts, as a dictionary."""
    clock, n = machine.clock, len(requests)
    top = clock.n_layers - 1
    truth = {"depth": requests.depth, "length": requests.length}
    told = {"depth": requests.predicted_depth, "length": requests.predicted_length}
    source = truth if scheduler.knows else told
    people = []
    for i in range(n):
        room = {"most": machine.most, "as needed": 1}.get(scheduler.reserve)
        if room is None:
            room = min(max(math.ceil(source["length"][i]), 1), machine.most)
        key = 0.0 if scheduler.order == "arrival" else float(source[scheduler.order][i])
        people.append({"id": i, "came": float(requests.arrival[i]), "text": 0, "room": room, "key": key,
                       "cache": [], "first": None, "end": None, "set": 0})  # fmt: skip
    state = {"now": 0.0, "place": math.inf, "down": True, "peak": 0, "filled": 0, "steps": 0,
             "needed": 0, "held": 0, "lost": 0, "again": 0, "batches": []}  # fmt: skip
    running = []

    def free():
        return machine.memory - sum(one["set"] for one in running)

    def look():
        state["peak"] = max(state["peak"], machine.memory - free())
        state["filled"] = max(state["filled"], sum(len(one["cache"]) for one in running))

    def token(one):
        one["text"] += 1
        if one["first"] is None:
            one["first"] = state["now"]
        if one["text"] == len(requests.exits[one["id"]]):
            one["end"] = state["now"]

    while any(one["end"] is None for one in people):
        here = [
            p for p in people if p["end"] is None and p not in running and p["came"] <= state["now"]
        ]
        if not here and not running:
            state["now"] = min(p["came"] for p in people if p["end"] is None)
            continue
        new = []
        if scheduler.continuous or not running:
            while here and len(running) < machine.rows:
                # Down: keys up to the arm's; up: keys from it on; at an end it turns.
                for _ in range(2):
                    below = state["down"]
                    ahead = [
                        p
                        for p in here
                        if (p["key"] <= state["place"] if below else p["key"] >= state["place"])
                    ]
                    if ahead:
                        break
                    state["down"] = not below
                best = min(
                    ahead,
                    key=lambda p: (-p["key"] if state["down"] else p["key"], p["came"], p["id"]),
                )
                want = int(requests.prompt[best["id"]]) + best["room"] - 1
                if want > free():
                    break
                best["set"] = want
                state["place"] = best["key"]
                here.remove(best)
                running.append(best)
                new.append(best)
        if new:
            state["batches"].append(tuple(p["id"] for p in new))
            state["now"] += clock.prompts
            for one in new:
                positions = int(requests.prompt[one["id"]]) + one["text"]
                if one["text"]:
                    state["again"] += positions
                elif scheduler.predicts:
                    state["now"] += clock.looking * positions
                # Each position has keys and values in every block: none is owed.
                one["cache"] = [top] * positions
                for own in range(1, positions + 1):
                    state["now"] += clock.position + clock.pair[top] * own
                state["now"] += clock.answer
            look()
            for one in new:
                token(one)
            running = [one for one in running if one["end"] is None]
        at = 0
        while at < len(running):
            if len(running[at]["cache"]) < running[at]["set"]:
                at += 1
            elif free() > 0:
                running[at]["set"] += 1
            else:
                gone = running.pop()
                gone["set"], gone["cache"] = 0, []
                gone["room"] = min(machine.most, max(gone["room"], 2 * gone["text"]))
                state["lost"] += 1
        if not running:
            continue
        left = [int(requests.exits[one["id"]][one["text"]]) for one in running]
        state["now"] += clock.once[max(left)]
        for one, layer in zip(running, left, strict=True):
            for block in range(1, layer + 1):
                owed = [p for p, there in enumerate(one["cache"]) if there < block]
                state["now"] += clock.kv[block] * len(owed)
                for position in owed:
                    assert one["cache"][position] == block - 1, "a block was left out"
                    one["cache"][position] = block
            one["cache"].append(layer)
            state["now"] += clock.row[layer] + clock.pair[layer] * len(one["cache"])
        state["steps"] += 1
        state["needed"] += sum(layer + 1 for layer in left)
        state["held"] += len(left) * (max(left) + 1)
        look()
        for one in running:
            token(one)
        running = [one for one in running if one["end"] is None]
    return {**state, "first": [p["first"] for p in people], "end": [p["end"] for p in people]}
