# Roles and policies, in each of the ways in which Terraform binds them.
terraform {
  required_providers {
    aws = { source = "hashicorp/aws" }
  }
}

provider "aws" {}

variable "description" {
  default = "runs functions"
}

variable "action" {
  default = "s3:GetObject"
}

data "aws_iam_policy_document" "trust" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["lambda.amazonaws.com"]
    }
  }
}

data "aws_iam_policy_document" "objects" {
  statement {
    actions   = [var.action]
    resources = ["arn:aws:s3:::bucket/*"]
  }
}

data "aws_iam_policy" "basic" {
  name = "AWSLambdaBasicExecutionRole"
}

resource "aws_iam_policy" "objects" {
  name        = "objects"
  path        = "/team/"
  description = "reads objects"
  policy      = data.aws_iam_policy_document.objects.json
  tags        = { team = "lamp" }
}

resource "aws_iam_role" "function" {
  name                 = "function"
  path                 = "/team/"
  description          = var.description
  assume_role_policy   = data.aws_iam_policy_document.trust.json
  permissions_boundary = aws_iam_policy.objects.arn
  max_session_duration = 7200
  tags                 = { team = "lamp", stage = var.action }
  inline_policy {
    name   = "inside"
    policy = data.aws_iam_policy_document.objects.json
  }
  managed_policy_arns = [aws_iam_policy.objects.arn, data.aws_iam_policy.basic.arn]
}

resource "aws_iam_role" "plain" {
  name_prefix        = "plain-"
  assume_role_policy = data.aws_iam_policy_document.trust.json
}

resource "aws_iam_role_policy" "plain" {
  name   = "objects"
  role   = aws_iam_role.plain.id
  policy = data.aws_iam_policy_document.objects.json
}

resource "aws_iam_role_policy_attachment" "plain" {
  for_each   = {
    own    = aws_iam_policy.objects.arn
    queues = "arn:aws:iam::aws:policy/service-role/AWSLambdaSQSQueueExecutionRole"
    traces = "arn:aws:iam::aws:policy/AWSXRayDaemonWriteAccess"
  }
  role       = aws_iam_role.plain.name
  policy_arn = each.value
}
