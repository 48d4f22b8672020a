#!/usr/bin/env bash
# The relay into an AWS account: the gateway's image to ECR, the functions built, the stack made or brought up to date.
#
# The first time SAM asks for the parameters, and keeps the answers in samconfig.toml: after that they are changed
# there, and it asks whether the changes are wanted.
#
# Usage: deploy.sh SAM; region and credentials are found as the AWS CLI finds them.
# The repository is made here and not by template.yaml: the stack's service needs the image when it is created.
set -euo pipefail
cd "$(dirname "$0")"

REPOSITORY=mailrelay-gateway
# Old images go, but not so soon that there is nothing to roll back to.
LIFECYCLE='{"rules":[{"rulePriority":1,"selection":{"tagStatus":"any","countType":"imageCountMoreThan","countNumber":30},"action":{"type":"expire"}}]}'

fail() {
  echo "deploy: $1" >&2
  exit 1
}

[ $# -eq 1 ] || { echo "usage: deploy.sh SAM" >&2; exit 2; }
sam=$1
for tool in git docker aws; do
  command -v "$tool" > /dev/null || fail "$tool is missing; install it (docs/operate.md, \"Before the first time\")"
done
[ -z "$(git status --porcelain --untracked-files=no -- . ':!samconfig.toml')" ] || fail "there are changes that are not committed; the image is named by its commit"
region=${AWS_REGION:-${AWS_DEFAULT_REGION:-$(aws configure get region || true)}}
[ -n "$region" ] || fail "no region; set AWS_REGION, as AWS_REGION=eu-north-1"
account=$(aws sts get-caller-identity --query Account --output text) || fail "no AWS credentials that work; try: aws sts get-caller-identity"

registry="$account.dkr.ecr.$region.amazonaws.com"
tag=$(git rev-parse --short=12 HEAD)
image="$registry/$REPOSITORY:$tag"

if ! aws ecr describe-repositories --region "$region" --repository-names "$REPOSITORY" > /dev/null 2>&1; then
  echo "deploy: making the repository $REPOSITORY"
  aws ecr create-repository --region "$region" --repository-name "$REPOSITORY" --image-tag-mutability IMMUTABLE \
    --image-scanning-configuration scanOnPush=true > /dev/null
  aws ecr put-lifecycle-policy --region "$region" --repository-name "$REPOSITORY" --lifecycle-policy-text "$LIFECYCLE" > /dev/null
fi

if aws ecr describe-images --region "$region" --repository-name "$REPOSITORY" --image-ids "imageTag=$tag" > /dev/null 2>&1; then
  echo "deploy: $image is there already"
else
  echo "deploy: building $image"
  aws ecr get-login-password --region "$region" | docker login --username AWS --password-stdin "$registry" > /dev/null
  docker buildx build --platform linux/arm64 --provenance=false --tag "$image" --push .
fi

export SAM_CLI_TELEMETRY=0
# The functions' Python has to be there to build them; a container has it, too.
if python3.13 --version > /dev/null 2>&1; then
  "$sam" build
else
  "$sam" build --use-container
fi
if [ -f samconfig.toml ]; then
  grep -q 'GatewayImage=' samconfig.toml || fail "samconfig.toml has no GatewayImage among its parameter_overrides; add GatewayImage=none"
  sed -i.before -E "s#(GatewayImage=[\\\\\"]*)[^\"\\\\ ]*#\\1$image#" samconfig.toml && rm samconfig.toml.before
  "$sam" deploy --region "$region" --confirm-changeset
else
  "$sam" deploy --region "$region" --guided --confirm-changeset --parameter-overrides "GatewayImage=$image"
fi
