// Package secret reads values from AWS Secrets Manager.
package secret

import (
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
)

// Read returns the text of the secret with that name or ARN. Errors name the
// secret and never its value.
func Read(ctx context.Context, cfg aws.Config, id string) (string, error) {
	out, err := secretsmanager.NewFromConfig(cfg).GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &id})
	if err != nil {
		return "", fmt.Errorf("cannot read secret %s; allow secretsmanager:GetSecretValue on it: %w", id, err)
	}
	if out.SecretString == nil {
		return "", fmt.Errorf("secret %s holds no text", id)
	}
	return *out.SecretString, nil
}
