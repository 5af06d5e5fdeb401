"""Markdown tables of what was measured, and of what was aimed at, claim by claim."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import isnan, sqrt
from statistics import mean, stdev

from measure import METRICS, PAPER_METRICS, REGIONS
from peers import ASSIGNED, EQUIVALENTS, FIRST, PUBLISHED
from results import KEY, Results, Row, distinct

NAMES = {
    "trustworthiness": "T", "continuity": "C", "knn": "kNN", "spearman": "Spearman", "moran": "Moran", "blobs": "blobs",
    "coverage": "coverage", "evenness": "evenness", "hole": "hole", "seconds": "seconds",
}  # fmt: skip
DIGITS = {"blobs": 1, "hole": 2, "seconds": 2}

#: What each measure can and cannot say.
LEGEND = """\
T (trustworthiness: are neighbours on the map alike?) and C (continuity: are like neurons neighbours on the map?) judge
ranks among the 10 nearest and forgive near misses; kNN counts hits alone. None of the three sees gaps or the large
scale, which Spearman's correlation of distances sees, and nothing else. Moran's I and blobs say how coherent the maps
of the classes are: a layout that piles neurons up scores well. Coverage, evenness (variation of nearest distances) and
the largest hole (in spacings) say how the region is filled and nothing about who lies where. Read them together."""

#: Peers of the first claim: all that is published, but for plain t-SNE, which has a claim of its own.
_BELOW = tuple(name for name in PUBLISHED if name != "tsne")

#: A layout that covers this share of a region counts as filled.
_FILLED = 0.95

#: Differences of T, C and kNN that mean nothing.
_NOISE = 0.002


def report(results: Results) -> str:
    """Return all tables."""
    parts = [
        _nets(results),
        _claims(results),
        _free(results),
        _equivalents(results),
        _planted(results),
        _stability(results),
    ]
    parts += [_cost(results), LEGEND, *_layouts(results)]
    return "\n\n".join(part for part in parts if part)


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a Markdown table, or nothing without rows."""
    if not rows:
        return ""
    lines = [list(columns), ["---"] * len(columns), *rows]
    return f"**{title}**\n\n" + "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def number(value: float, name: str = "") -> str:
    """Write a measure with its number of decimals, without a leading zero; a dash for what is not known."""
    text = "–" if isnan(value) else f"{value:.{DIGITS.get(name, 3)}f}"
    return text.replace("0.", ".", 1) if text.startswith(("0.", "-0.")) else text


def cases(results: Results) -> Iterator[Row]:
    """Iterate over data, size and metric of the layouts that were measured."""
    rows = results.select(kind="layout")
    for data in distinct(rows, "data"):
        for n in sorted({row["n"] for row in rows if row["data"] == data}):
            for metric in METRICS:
                case = {"kind": "layout", "data": data, "n": n, "metric": metric}
                if results.select(**case, method="spread"):
                    yield case


def _nets(results: Results) -> str:
    rows = []
    nets = results.select(kind="net")
    for data in distinct(nets, "data"):
        for n in sorted({row["n"] for row in nets if row["data"] == data}):
            which = [row for row in nets if row["data"] == data and row["n"] == n]
            live, accuracy = sorted(row["live"] for row in which), sorted(row["accuracy"] for row in which)
            spans = [f"{live[0]}–{live[-1]}", f"{accuracy[0]:.3f}–{accuracy[-1]:.3f}"]
            rows.append([data, n, len(which), *spans, which[0]["inputs"]])
    return table("Networks", ["data", "N", "networks", "live neurons", "accuracy", "inputs"], rows)


def _best(results: Results, name: str, cases: Sequence[Row], methods: Sequence[str]) -> tuple[float, str]:
    """Return the best median among methods, in whichever region and case is best for them, and whose it is."""
    found = []
    for case in cases:
        for method in methods:
            for region in [case["region"]] if "region" in case else REGIONS:
                value = results.median(name, **{**case, "method": method, "region": region})
                if not isnan(value):
                    found.append((value, f"{method}, {case['metric']}" if len(cases) > 1 else method))
    if not found:
        return float("nan"), ""
    return min(found) if name == "blobs" else max(found)


def claims(results: Results, case: Row, region: str) -> Iterator[tuple[str, float, str, float, bool]]:
    """Iterate over what is aimed at: the claim, what was measured, the sign, the target, whether it holds."""
    own = {**case, "method": "spread", "region": region}

    def verdict(name: str, measured: float, sign: str, target: float) -> tuple[str, float, str, float, bool]:
        holds = measured >= target - 5e-7 if sign == "≥" else measured <= target + 5e-7
        return name, measured, sign, target, holds

    # the default metric has no published layouts of its own: it stands against those by both, judged by correlation
    published, suffix, by = [case], "", ""
    if case["metric"] not in PAPER_METRICS:
        published, suffix, by = [{**case, "metric": metric} for metric in PAPER_METRICS], "_r", ", by correlation,"
    for name in ("trustworthiness", "continuity"):
        mine = results.median(name, **own)
        best, who = _best(results, name + suffix, published, _BELOW)
        yield verdict(f"{NAMES[name]}{by} above all published ({who})", mine, "≥", best)
        plain, who = _best(results, name + suffix, published, ["tsne"])
        yield verdict(f"{NAMES[name]}{by} within .005 of {who}", mine, "≥", plain - 0.005)
    share = 0.95 if case["n"] <= 512 else 0.93
    if case["n"] >= 512:
        free, who = _best(results, "knn", [case], ["openTSNE", "tsne, free"])
        mine = results.median("knn", **own)
        yield verdict(f"kNN at least {100 * share:.0f} % of {who} ({number(free)})", mine / free, "≥", share)
    for other in published:
        filled = [
            method
            for method in (*PUBLISHED, *ASSIGNED)
            if results.median("coverage", **{**other, "method": method, "region": region}) >= _FILLED
        ]
        best, who = _best(results, "blobs", [{**other, "region": region}], filled)
        if filled:
            what = f"blobs at most those of the best filled alternative ({who}, {other['metric']})"
            yield verdict(what, results.median("blobs", **own), "≤", best)
    for name, sign, target in (("coverage", "≥", 0.98), ("evenness", "≤", 0.15), ("hole", "≤", 1.2)):
        yield verdict(name, results.median(name, **own), sign, target)


def _claims(results: Results) -> str:
    rows = []
    for case in cases(results):
        for region in REGIONS:
            for name, measured, sign, target, holds in claims(results, case, region):
                if isnan(measured) or isnan(target):
                    continue
                where = [case["data"], case["n"], case["metric"], region]
                rows.append([*where, name, number(measured), f"{sign} {number(target)}", "yes" if holds else "**no**"])
    missed = sum(row[-1] != "yes" for row in rows)
    columns = ["data", "N", "metric", "region", "aimed at", "measured", "target", "holds"]
    return table(f"Aims ({len(rows) - missed} of {len(rows)} hold; medians over networks)", columns, rows)


def _free(results: Results) -> str:
    """Compare topomap's free layouts with the libraries used directly, network by network."""
    rows = []
    pairs = (("tsne, free", "openTSNE"), ("umap, free", "umap"))
    for n in sorted({case["n"] for case in cases(results)}):
        for ours, theirs in pairs:
            for name in ("trustworthiness", "continuity", "knn"):
                gaps = []
                for row in results.select(kind="layout", n=n, method=ours, region="disc"):
                    other = results.select(**{key: row[key] for key in KEY if key in row} | {"method": theirs})
                    gaps += [row[name] - found[name] for found in other if name in found]
                if len(gaps) < 2:
                    continue
                error = 2 * stdev(gaps) / sqrt(len(gaps))
                holds = "yes" if mean(gaps) >= -max(error, _NOISE) else "**no**"
                rows.append([n, ours, theirs, NAMES[name], len(gaps), f"{mean(gaps):+.4f} ± {error:.4f}", holds])
    columns = ["N", "layout", "library", "measure", "pairs", "difference (mean, two standard errors)", "no worse"]
    return table("Free layouts against the libraries used directly, on the same networks and metrics", columns, rows)


def _equivalents(results: Results) -> str:
    rows = []
    for substitute, original in EQUIVALENTS.items():
        case = {"kind": "layout", "data": "fashion", "n": 512, "metric": "cosine", "region": "disc"}
        names = ("trustworthiness", "continuity", "knn", "coverage", "seconds")
        for method in (original, substitute):
            found = {name: results.values(name, **case, method=method) for name in names}
            if results.select(**case, method=substitute) and found["knn"]:
                rows.append([method, *(_span(found[name], name) for name in names)])
    columns = ["layout", "T", "C", "kNN", "coverage", "seconds"]
    title = "Published procedures and their equivalents (Fashion-MNIST, N = 512, cosine; lowest to highest)"
    return table(title, columns, rows)


def _span(values: Sequence[float], name: str) -> str:
    low, high = number(min(values), name), number(max(values), name)
    return low if low == high else f"{low} to {high}"


def _planted(results: Results) -> str:
    aims = {"sheet": ("Spearman of distances", "≥", 0.9), "ring": ("circular correlation", "≥", 0.9),
            "clusters": ("blobs per cluster", "≤", 1.0)}  # fmt: skip
    rows = []
    for name, (what, sign, target) in aims.items():
        for region in REGIONS:
            found = sorted(results.values("value", kind="planted", data=name, region=region))
            if found:
                worst = found[0] if sign == "≥" else found[-1]
                holds = worst >= target if sign == "≥" else worst <= target
                middle = results.median("value", kind="planted", data=name, region=region)
                more = ""
                if name == "ring":
                    least = min(results.values("resultant", kind="planted", data=name, region=region))
                    more = f"least mean resultant {number(least)}"
                elif name == "clusters":
                    least = min(results.values("share", kind="planted", data=name, region=region))
                    more = f"least share in one piece {number(least)}"
                rows.append([name, region, what, len(found), number(middle), number(worst), f"{sign} {target:g}",
                             "yes" if holds else "**no**", more])  # fmt: skip
    columns = ["planted", "region", "measure", "seeds", "median", "worst", "target", "holds", ""]
    return table("Planted truth", columns, rows)


def _stability(results: Results) -> str:
    rows = []
    found = results.select(kind="stability")
    for data in distinct(found, "data"):
        for n in sorted({row["n"] for row in found if row["data"] == data}):
            case = {"kind": "stability", "data": data, "n": n}
            free = results.median("disparity", **case, method="umap", over="inputs")
            for over in ("seeds", "jitter", "inputs"):
                for method, region in (("spread", "disc"), ("spread", "square"), ("umap", "disc"), ("tsne", "disc")):
                    which = {**case, "method": method, "region": region, "over": over}
                    middle = results.median("disparity", **which)
                    if isnan(middle):
                        continue
                    target = free if over == "inputs" else 0.05
                    aim = holds = ""
                    if method == "spread" and not isnan(target):
                        aim = f"≤ {number(target)}"
                        holds = "yes" if middle <= target else "**no**"
                    spread = _span(results.values("disparity", **which), "")
                    rows.append([data, n, over, method, region, number(middle), spread, aim, holds])
    columns = ["data", "N", "over", "layout", "region", "disparity", "per network", "target", "holds"]
    title = "Stability: Procrustes disparity over seeds, seeds with 1 % noise, and bootstrap samples of the inputs"
    return table(title, columns, rows)


def _cost(results: Results) -> str:
    targets = {512: 0.5, 2048: 0.2, 8192: 0.2}
    rows = []
    for n in sorted({row["n"] for row in results.select(kind="cost")}):
        seconds = [results.median(f"seconds_{name}", kind="cost", n=n) for name in ("disc", "square", "umap")]
        ratios = [results.median(f"ratio_{region}", kind="cost", n=n) for region in REGIONS]
        target = targets.get(n)
        holds = "" if target is None else "yes" if max(ratios) <= target else "**no**"
        aim = "" if target is None else f"≤ {target}"
        rows.append([n, *(number(value, "seconds") for value in (*seconds, *ratios)), aim, holds])
    columns = ["N", "disc, s", "square, s", "umap-learn, s", "disc / umap", "square / umap", "target", "holds"]
    title = 'Cost: `correlate` and `embed` against umap-learn (`metric="correlation"`, seeded), warm'
    return table(title, columns, rows)


def _layouts(results: Results) -> Iterator[str]:
    order = ["spread", *PUBLISHED, *ASSIGNED, "openTSNE", "tsne, free", "umap, free", *list(EQUIVALENTS)[1:]]
    for case in cases(results):
        rows = []
        for region in REGIONS:
            for method in order:
                which = {**case, "method": method, "region": region}
                found = results.select(**which)
                if not found:
                    continue
                by, measured = found[-1]["by"], [row for row in found if "knn" in row]
                values = [number(results.median(name, **which), name) for name in NAMES]
                rows.append([method, region, *values, len(measured), by])
        title = f"{case['data']}, N = {case['n']}, {case['metric']}; medians over networks"
        yield table(title, ["layout", "region", *NAMES.values(), "nets", "by"], rows)


def compact(results: Results, data: str = "fashion", n: int = 512, metric: str = "cosine") -> str:
    """Return the README's table: one size, one metric; other layouts in the region that they cover best."""
    names = ("trustworthiness", "continuity", "knn", "blobs", "coverage", "evenness", "hole")
    case = {"kind": "layout", "data": data, "n": n, "metric": metric}
    rows = []
    for method in ("spread", "umap+swarm", "umap>grid", *reversed(FIRST)):
        covered = {region: results.median("coverage", **case, method=method, region=region) for region in REGIONS}
        known = [region for region in REGIONS if not isnan(covered[region])]
        best = known if method == "spread" else sorted(known, key=lambda region: -covered[region])[:1]
        for region in best:
            found = [number(results.median(name, **case, method=method, region=region), name) for name in names]
            rows.append([method, region, *found])
    nets = len(results.values("knn", **case, method="umap", region="disc"))
    title = f"Medians over {nets} networks, N = {n} neurons, {metric} distance, 10 neighbours"
    return table(title, ["layout", "region", *(NAMES[name] for name in names)], rows)
