"""What the scripts that draw whole models have in common: their command line, and a line for each model."""
import argparse


def main(description, case_class, models_per_seed):
    """Runs case_class(args, seed, number) for each model of each seed; 1 if one failed."""
    ap = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--program", required=True)
    ap.add_argument("--files", required=True)
    ap.add_argument("--out", required=True)
    ap.add_argument("seeds", type=int, nargs="+")
    args = ap.parse_args()
    failed = 0
    for seed in args.seeds:
        for number in range(models_per_seed):
            case = case_class(args, seed, number)
            case.run()
            failed += bool(case.failures)
            print("%s %s" % ("FAILED" if case.failures else "ok    ", case.title()), flush=True)
            for text in case.failures:
                print("  " + text)
    return 1 if failed else 0
