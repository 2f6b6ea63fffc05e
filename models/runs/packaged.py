"""Train the bundles that come with the repository, and test them on the parts that their sets name.

python -m models.runs.packaged eshop jobs/lab/replay/datasets/eshop2008.csv.gz models/artifacts/eshop
python -m models.runs.packaged serenade FOLDER_WITH_train_valid_test models/artifacts/serenade
"""

import argparse
import sys
from pathlib import Path

from models.clicks.dataset import read
from models.quality.measure import table
from models.runs.pictures import draw
from models.runs.tracking import train_recorded
from models.serving.bundle import read_manifest


def main() -> None:
    """Train, write the bundle and its pictures, and print the table of the set's own test part."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", choices=["eshop", "serenade"])
    parser.add_argument("data", type=Path, help="eshop: the csv.gz; serenade: the folder")
    parser.add_argument("out", type=Path, help="folder of the bundle")
    parser.add_argument(
        "--pictures", type=Path, default=Path("models/pictures"), help="folder of the model card's pictures"
    )
    parser.add_argument("--tracking", type=Path, default=Path(".liveshelf/mlflow"), help="MLflow's store of trainings")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--features",
        nargs="*",
        help="the model's context features, view:feature, as `liveshelf explain ranker_context` lists them; by default "
        "those of the bundle that is there",
    )
    given = parser.parse_args()
    parts = read(given.dataset, given.data)
    # serenade's validation part isn't in its training part; eshop's, July, is in what ships.
    choose = None if parts.fit is not parts.ship else parts.validate
    source = {"dataset": given.dataset, "data_sha256": parts.fingerprint}

    features = read_manifest(given.out)["context_features"] if given.features is None else given.features
    reports, curve = train_recorded(
        given.tracking,
        parts.ship,
        given.out,
        given.dataset,
        source,
        context_features=features,
        choose=choose,
        test=parts.test,
        minutes=600,  # all epochs, however busy the machine is
        seed=given.seed,
        names=parts.names,
        facts_of=parts.facts,
        tell=lambda line: print(line, file=sys.stderr, flush=True),
    )
    draw(given.pictures, given.dataset, curve, reports)
    print(table(reports))


if __name__ == "__main__":
    main()
