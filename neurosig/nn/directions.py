"""Nearest direction: the code of the largest dot product, found exactly, most of the way in small integers."""

from __future__ import annotations

from functools import cache

import torch

from neurosig.core.errors import InputError

__all__ = ["RoundedCodes", "nearest_directions", "roundable"]

_CHUNK = 1 << 21  # dot products held at a time: 8 MB
_GROUP = 64  # codes of which the largest dot product is taken at once
_WORTH, _WORTH_ROUNDED = 1 << 20, 1 << 17  # dot products from which on the detour through integers pays
_MANY = 32  # candidates for each vector above which all dot products are computed in full precision after all


def nearest_directions(
    directions: torch.Tensor, codebook: torch.Tensor, rounded: RoundedCodes | None = None
) -> torch.Tensor:
    """Index of the code with the largest dot product: among codes of length one, the nearest.

    Parameters
    ----------
    directions : tensor of shape (..., dim)
        Vectors of length one.
    codebook : tensor of shape (n_codes, dim)
        Codes of length one.
    rounded : RoundedCodes, optional
        The same codes rounded, where they serve more than one call.

    Returns
    -------
    int64 tensor of shape (...)
        The first of several that are equally near, in float32 at least. Memory does not grow with the number of
        vectors.

    Notes
    -----
    On processors that multiply 8-bit integers, a first search with rounded vectors leaves those codes that rounding
    cannot rule out (a bound, not an estimate: Cauchy-Schwarz on what rounding took away), a handful for a vector as a
    rule; only their dot products are computed in full precision.
    """
    if directions.shape[-1] != codebook.shape[1]:
        raise InputError(f"expected vectors of {codebook.shape[1]} entries, got {directions.shape[-1]}")
    with torch.no_grad(), torch.autocast(directions.device.type, enabled=False):
        dtype = torch.promote_types(torch.promote_types(directions.dtype, codebook.dtype), torch.float32)
        rows = directions.reshape(-1, directions.shape[-1]).to(dtype)
        codes = codebook.to(dtype)
        worth = len(rows) * len(codes) >= (_WORTH if rounded is None else _WORTH_ROUNDED)
        if not (worth and rows.dtype == torch.float32 and roundable(codes)):
            rounded = None
        elif rounded is None:
            rounded = RoundedCodes(codes)
        indices = torch.empty(len(rows), dtype=torch.int64, device=rows.device)
        step = max(1, _CHUNK // len(codes))
        for start in range(0, len(rows), step):
            block = rows[start : start + step]
            found = None if rounded is None else _from_candidates(block, codes, rounded)
            indices[start : start + step] = _first_maximum(block @ codes.T) if found is None else found
    return indices.reshape(directions.shape[:-1])


def roundable(codes: torch.Tensor) -> bool:
    """Whether a first search with rounded codes is possible here."""
    fits = codes.device.type == "cpu" and codes.dtype == torch.float32 and len(codes) % _GROUP == 0
    return fits and _multiplies_integers()


@cache
def _multiplies_integers() -> bool:
    """Whether torch has products of 8-bit integers here, and the processor does them; if in doubt, not."""
    probe = getattr(torch.cpu, "_is_vnni_supported", None)
    if probe is None or not probe() or not hasattr(torch, "_int_mm"):
        return False
    try:
        ones = torch.ones(4, 4, dtype=torch.int8)
        return bool((torch._int_mm(ones, ones) == 4).all())
    except RuntimeError:
        return False


class RoundedCodes:
    """Codes as 8-bit integers of one unit, and the largest length of what rounding took from a code.

    Parameters
    ----------
    codes : tensor of shape (n_codes, dim)
        Codes of length one.
    """

    def __init__(self, codes: torch.Tensor):
        self.unit = codes.abs().amax() / 127
        scaled = codes / self.unit
        whole = scaled.round()
        self.codes = whole.to(torch.int8).T
        self.lost = (scaled.sub_(whole).square_().sum(dim=1).amax().sqrt() * self.unit).item()


def _first_maximum(products: torch.Tensor) -> torch.Tensor:
    """Column of the first maximum of each row; maxima of groups take vector instructions, torch.argmax does not."""
    n_rows, n_columns = products.shape
    if n_columns % _GROUP:
        return products.argmax(dim=1)
    groups = products.view(n_rows, -1, _GROUP)
    first = groups.amax(dim=2).argmax(dim=1)
    within = groups[torch.arange(n_rows, device=products.device), first].argmax(dim=1)
    return first * _GROUP + within


def _from_candidates(rows: torch.Tensor, codes: torch.Tensor, rounded: RoundedCodes) -> torch.Tensor | None:
    """Exact search among the codes that rounded vectors leave; None where they leave too many, or cannot tell."""
    unit = rows.abs().amax(dim=1, keepdim=True) / 127
    scaled = rows / unit
    whole = scaled.round()
    lost = ((scaled - whole) * unit).norm(dim=1)
    if not bool(torch.isfinite(lost).all()):  # a vector of zeros, or NaN
        return None
    # how far a rounded product can be from the true one; lengths are one but for what float32 adds, the last term
    error = lost + (1 + lost) * rounded.lost + 1e-5
    scale = unit[:, 0] * rounded.unit
    n_groups = len(codes) // _GROUP
    products = torch._int_mm(whole.to(torch.int8), rounded.codes).view(len(rows), _GROUP, n_groups)
    groups = products.amax(dim=1)
    # the true product of the code that looks best: no code can be the nearest that cannot reach it
    group = groups.argmax(dim=1)
    every = torch.arange(len(rows))
    likely = products[every, :, group].argmax(dim=1) * n_groups + group
    reached = (rows * codes[likely]).sum(dim=1)
    floor = ((reached - error) / scale).floor().to(torch.int32)
    row, group = (groups >= floor[:, None]).nonzero(as_tuple=True)
    if len(row) > _MANY * len(rows):
        return None
    pair, within = (products[row, :, group] >= floor[row, None]).nonzero(as_tuple=True)
    if len(pair) > _MANY * len(rows):
        return None
    row, code = row[pair], within * n_groups + group[pair]
    exact = (rows[row] * codes[code]).sum(dim=1)
    best = rows.new_full((len(rows),), -torch.inf).scatter_reduce_(0, row, exact, "amax")
    code = torch.where(exact == best[row], code, len(codes))  # of equals the first
    return code.new_full((len(rows),), len(codes)).scatter_reduce_(0, row, code, "amin")
