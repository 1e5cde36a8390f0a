"""Draw how the clones learn: python -m analysis.attackers DIR… --out FOLDER."""

from analysis.command import main_of

main = main_of("attackers")

if __name__ == "__main__":
    raise SystemExit(main())
