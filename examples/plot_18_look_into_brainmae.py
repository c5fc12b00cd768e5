"""
Look at what BrainMAE has learned
=================================

BrainMAE knows each region by an embedding that it learns from nothing but the runs. Do regions of one network come to
resemble each other? Do two models, trained on different people, agree? Which regions can be filled in from the others,
and what do runs look like to the network? Runs are simulated, so that the networks are known.

Run it as ``python plot_18_look_into_brainmae.py [FOLDER]``: the figures are saved where a folder is named.
"""

import sys
from pathlib import Path

from neurosig import simulate_fmri
from neurosig.models import BrainMAEEmbedder
from neurosig.reports.brainmae import (
    plot_graph_attention,
    plot_reconstruction,
    plot_region_layout,
    plot_region_similarity,
    plot_representation,
    plot_state_attention,
)

FOLDER = Path(sys.argv[1]) if len(sys.argv) > 1 else None


def save(figure, name):
    """Save a figure where a folder was named."""
    if FOLDER is not None:
        FOLDER.mkdir(parents=True, exist_ok=True)
        figure.savefig(FOLDER / name, dpi=120, bbox_inches="tight")


# %%
# Two models, each of twenty people.

data = simulate_fmri(48, n_times=120, n_regions=20, n_networks=4, label="both", effect=2.0, random_state=0)
numbers = data.metadata["subject"].astype(int).to_numpy()
small = {"segment": 10.0, "n_segments": 12, "emb_size": 32, "n_heads": 4, "depth": 1, "temporal_depth": 1}
training = {"max_epochs": 40, "lr": 0.01, "batch_size": 4}
first = BrainMAEEmbedder(**small, **training, random_state=0).fit(data.subset(numbers <= 20))
second = BrainMAEEmbedder(**small, **training, random_state=1).fit(data.subset((numbers > 20) & (numbers <= 40)))
new = data.subset(numbers > 40)

# %%
# Embeddings of regions. Names of Schaefer's parcels tell their networks; others are handed over. The p-value is that of
# permuting networks over regions.

networks = [f"network {number + 1}" for number in data.truth["networks"]]
similarity = first.region_similarity(networks)
print(f"similarity within networks {similarity.within:.2f}, between {similarity.between:.2f}, p = {similarity.p:.3g}")
print(f"silhouette {similarity.silhouette:.2f}")
print(similarity.table().round(2).to_string())
save(plot_region_similarity(similarity), "similarity.png")
save(plot_region_layout(similarity), "layout.png")

agreement = first.agreement(second)
print(f"similarities of the two models correlate with {agreement.r:.2f} over pairs of regions, p = {agreement.p:.3g}")

# %%
# Attention between regions does not depend on the run. That among segments does: here nothing happens in a run, so
# that no segment should stand out. Of a task, `by_block` gives the mean of its blocks.

attention = first.graph_attention()
print(f"{attention.weights.shape[0]} block, {attention.weights.shape[1]} heads, {len(attention.names)} regions")
save(plot_graph_attention(attention), "graph_attention.png")
states = first.state_attention(new)
halves = ["first half" if onset < states.onset[len(states.onset) // 2] else "second half" for onset in states.onset]
print(states.by_block(halves).mean().round(4).to_string())
save(plot_state_attention(states, ["first half" if half == "first half" else None for half in halves]), "states.png")

# %%
# Runs as the network sees them, and how well it fills in regions of people whom it has not seen.

components = first.representation_pca(new)
print(f"two components hold {100 * components.explained.sum():.0f} % of the variance of embeddings")
save(plot_representation(components, new.y), "representation.png")
filled = first.reconstruction(new, mask_ratio=0.5)
print(f"R² {filled.masked_total:.2f} where half of the regions are hidden, {filled.unmasked_total:.2f} where visible")
print(filled.table().sort_values("masked").round(2).to_string(index=False))
save(plot_reconstruction(filled), "reconstruction.png")
