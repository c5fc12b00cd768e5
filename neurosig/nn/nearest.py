"""The nearest code, by Euclidean distance or by direction: found exactly, most of the way in small integers."""

from __future__ import annotations

from functools import cache

import torch

from neurosig.core.errors import InputError

__all__ = ["KeptRounding", "RoundedCodes", "nearest_codes", "nearest_directions"]

_CHUNK = 1 << 21  # products held at a time: 8 MB
_GROUP = 64  # codes of which the largest product is taken at once
_WORTH, _WORTH_ROUNDED = 1 << 20, 1 << 17  # products from which on the detour through integers pays
_MANY = 32  # candidates for each vector above which all products are computed in full precision after all
_PART = 1024  # codes rounded together, so that they stay in a core's cache
_COARSE = 1 / 8  # of a usual code's length: where rounding may take more than that, it leaves too many candidates


def nearest_codes(x: torch.Tensor, codebook: torch.Tensor, rounded: RoundedCodes | None = None) -> torch.Tensor:
    """Index of the nearest code by Euclidean distance.

    Parameters
    ----------
    x : tensor of shape (..., dim)
        Vectors.
    codebook : tensor of shape (n_codes, dim)
        Codes.
    rounded : RoundedCodes, optional
        The same codes rounded, where they serve more than one call.

    Returns
    -------
    int64 tensor of shape (...)
        The first of several that are equally near, in float32 at least. Memory does not grow with the number of
        vectors.

    Notes
    -----
    The nearest code has the largest dot product less half its squared length. On processors that multiply 8-bit
    integers, a first search with rounded vectors leaves those codes that rounding cannot rule out (a bound, not an
    estimate: Cauchy-Schwarz on what rounding took away), a handful for a vector as a rule; only their products are
    computed in full precision.
    """
    return _nearest(x, codebook, rounded, unit=False)


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
        The same codes rounded, with ``unit=True``.

    Returns
    -------
    int64 tensor of shape (...)
        As of `nearest_codes`.
    """
    return _nearest(directions, codebook, rounded, unit=True)


class RoundedCodes:
    """Codes as 8-bit integers of one step, and the largest length of what rounding took from a code.

    Parameters
    ----------
    codes : tensor of shape (n_codes, dim)
        Codes.
    unit : bool
        Whether all are of length one.
    """

    def __init__(self, codes: torch.Tensor, *, unit: bool = False):
        self.step = torch.stack(codes.aminmax()).abs().amax() / 127
        whole, lost = torch.empty_like(codes, dtype=torch.int8), []
        for part, to in zip(codes.split(_PART), whole.split(_PART), strict=True):
            scaled = part / self.step
            to.copy_(scaled.round())
            lost.append(scaled.sub_(to).square_().sum(dim=1).amax())
        self.codes = whole.T
        self.lost = (torch.stack(lost).amax().sqrt() * self.step).item()
        self.half = None if unit else _half_squares(codes)
        if self.half is None:
            self.longest, usual = 1.0, 1.0
        else:
            self.longest, usual = ((2 * square).sqrt().item() for square in (self.half.amax(), self.half.median()))
        self.fine = self.lost <= _COARSE * usual  # not so where a few codes are far longer than the others


class KeptRounding:
    """Rounded codes of a codebook, kept until the codes change."""

    def __init__(self) -> None:
        self._kept: tuple[torch.Tensor, tuple[int, int], RoundedCodes] | None = None

    def of(self, codes: torch.Tensor, *, unit: bool = False) -> RoundedCodes | None:
        """The rounded codes, or None where a search in integers is not possible.

        Parameters
        ----------
        codes : tensor of shape (n_codes, dim)
            Always the same codebook, whatever its values.
        unit : bool
            Whether all are of length one.

        Returns
        -------
        RoundedCodes or None
        """
        if codes.is_inference() or not _roundable(codes):
            return None
        state = (codes.data_ptr(), codes._version)  # every change in place raises a tensor's version
        # the tensor itself is held: memory that another gave back may come at the same place, in the same version
        if self._kept is None or self._kept[0] is not codes or self._kept[1] != state:
            with torch.no_grad():
                self._kept = (codes, state, RoundedCodes(codes, unit=unit))
        return self._kept[2]

    def __getstate__(self) -> dict:
        return {"_kept": None}


def _nearest(x: torch.Tensor, codebook: torch.Tensor, rounded: RoundedCodes | None, *, unit: bool) -> torch.Tensor:
    if x.shape[-1] != codebook.shape[1]:
        raise InputError(f"expected vectors of {codebook.shape[1]} entries, got {x.shape[-1]}")
    with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
        dtype = torch.promote_types(torch.promote_types(x.dtype, codebook.dtype), torch.float32)
        rows = x.reshape(-1, x.shape[-1]).to(dtype)
        codes = codebook.to(dtype)
        worth = len(rows) * len(codes) >= (_WORTH if rounded is None else _WORTH_ROUNDED)
        if not (worth and rows.dtype == torch.float32 and _roundable(codes)):
            rounded = None
        elif rounded is None:
            rounded = RoundedCodes(codes, unit=unit)
        if rounded is None:
            half = None if unit else _half_squares(codes)
        else:
            half, rounded = rounded.half, rounded if rounded.fine else None
        indices = torch.empty(len(rows), dtype=torch.int64, device=rows.device)
        step = max(1, _CHUNK // len(codes))
        for start in range(0, len(rows), step):
            block = rows[start : start + step]
            found = None if rounded is None else _from_candidates(block, codes, rounded)
            indices[start : start + step] = _from_all(block, codes, half) if found is None else found
    return indices.reshape(x.shape[:-1])


def _half_squares(codes: torch.Tensor) -> torch.Tensor:
    """Half the squared lengths: with the vector's own, which does not change the order, half the squared distance."""
    return codes.square().sum(dim=1) / 2


def _roundable(codes: torch.Tensor) -> bool:
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


def _from_all(rows: torch.Tensor, codes: torch.Tensor, half: torch.Tensor | None) -> torch.Tensor:
    """Search among all products, in full precision; of equals the first."""
    products = rows @ codes.T if half is None else torch.addmm(half, rows, codes.T, beta=-1)
    n_rows, n_columns = products.shape
    if n_columns % _GROUP:
        return products.argmax(dim=1)
    # maxima of groups take vector instructions, torch.argmax does not
    groups = products.view(n_rows, -1, _GROUP)
    first = groups.amax(dim=2).argmax(dim=1)
    within = groups[torch.arange(n_rows, device=products.device), first].argmax(dim=1)
    return first * _GROUP + within


def _from_candidates(rows: torch.Tensor, codes: torch.Tensor, rounded: RoundedCodes) -> torch.Tensor | None:
    """Exact search among the codes that rounded vectors leave; None where they leave too many, or cannot tell."""
    half = rounded.half
    # each vector in steps of its own, unless there are lengths of codes to be told in the same steps
    step = (rows.abs().amax(dim=1, keepdim=True) if half is None else rows.abs().amax()) / 127
    scaled = rows / step
    whole = scaled.round()
    lost = (scaled.sub_(whole) * step).norm(dim=1)
    length = 1.0 if half is None else rows.norm(dim=1)
    # how far a rounded product can be from the true one, and what float32 adds
    error = (
        lost * rounded.longest + (length + lost) * rounded.lost + 1e-5 * rounded.longest * (length + rounded.longest)
    )
    if not bool(error.sum().isfinite()):  # a vector of zeros, or NaN
        return None
    scale = (step * rounded.step).reshape(-1)
    products = torch._int_mm(whole.to(torch.int8), rounded.codes)
    if half is not None:
        # cut off where it would leave the integers: such a code only seems nearer than it is
        products -= (half / scale).clamp_(max=1 << 30).round_().to(torch.int32)
        error += scale
    products = products.view(-1, _GROUP)  # rows of it are taken by index_select: it copies whole rows, indexing entries
    groups = products.amax(dim=1).view(len(rows), -1)
    start = torch.arange(len(rows)) * groups.shape[1]
    # the true product of the code that looks best: no code can be the nearest that cannot reach it
    group = groups.argmax(dim=1)
    likely = group * _GROUP + products.index_select(0, start + group).argmax(dim=1)
    reached = _products(rows, codes, half, likely)
    floor = ((reached - error) / scale).floor().clamp_(min=-(1 << 31)).to(torch.int32)
    row, group = (groups >= floor[:, None]).nonzero(as_tuple=True)
    if len(row) > _MANY * len(rows):
        return None
    pair, within = (products.index_select(0, start[row] + group) >= floor[row, None]).nonzero(as_tuple=True)
    if len(pair) > _MANY * len(rows):
        return None
    row, code = row[pair], group[pair] * _GROUP + within
    exact = _products(rows.index_select(0, row), codes, half, code)
    best = rows.new_full((len(rows),), -torch.inf).scatter_reduce_(0, row, exact, "amax")
    code = torch.where(exact == best[row], code, len(codes))  # of equals the first
    return code.new_full((len(rows),), len(codes)).scatter_reduce_(0, row, code, "amin")


def _products(rows: torch.Tensor, codes: torch.Tensor, half: torch.Tensor | None, chosen: torch.Tensor) -> torch.Tensor:
    """Of each row with the code chosen for it, less half its squared length where lengths differ."""
    products = (rows * codes.index_select(0, chosen)).sum(dim=1)
    return products if half is None else products - half[chosen]
